"""The shop's own people and their agents in a chat of the company: stock, figures, carriers, the web site."""

from __future__ import annotations

from collections.abc import Iterator

from sessionctl.demo.catalogue import PRODUCTS, price
from sessionctl.demo.script import Script, Use


def scripts() -> Iterator[Script]:
    yield _stock_report()
    yield _week_in_figures()
    yield _carrier_strike()
    yield _web_site_change()
    yield _refused_change()
    yield _not_approved()
    yield _catalogue()


def _stock_report() -> Script:
    rows = [
        f"{article:8}{name:42}{price(cents):>10}{stock:>6}  shelf {number // 6 + 1}-{number % 6 + 1}  "
        f"{'REORDER' if stock < 10 else 'ok':8}last counted by the night robot, deviation {number % 3}"
        for number, (article, name, cents, stock) in enumerate(PRODUCTS)
    ]
    low = [name for _, name, _, stock in PRODUCTS if stock < 10]
    return (
        Script("slack:C024:1699.0412", "26m")
        .user("what do we have to reorder this week? full table please, I print it")
        .uses(
            Use("stock_table", {"all": True, "columns": "everything"}, "\n".join(rows)),
            thought="The whole table is asked for, and the reorder flag is in it.",
        )
        .says(f"{len(low)} articles are below ten pieces: " + "; ".join(low) + ". The table is above.")
    )


def _week_in_figures() -> Script:
    code = (
        "import csv, collections\n"
        "sums = collections.Counter()\n"
        "for row in csv.DictReader(open('/mnt/data/sales.csv')):\n"
        "    sums[row['kind']] += int(row['cents'])\n"
        "for kind, cents in sums.most_common():\n"
        "    print(f'{kind:10}{cents / 100:10.2f}')"
    )
    logs = "yarn         4182.60\nkits         2011.00\nneedles       890.40\nother         366.15\n"
    return (
        Script("slack:C024:1699.0388", "4d")
        .user("last week's sales by kind?")
        .uses(Use("export_sales", {"week": "last"}, {"file": "/mnt/data/sales.csv", "rows": 312}))
        .hosted(
            "code_interpreter_call",
            "ci",
            thought="312 rows: let the interpreter add them up.",
            status="completed",
            container_id="cntr_demo",
            code=code,
            outputs=[{"type": "logs", "logs": logs}],
        )
        .says("Yarn 4,182.60 €, kits 2,011.00 €, needles 890.40 €, other 366.15 €. Together 7,450.15 €.")
        .user("and the week before?", wait="17m")
        .uses(Use("export_sales", {"week": "last-1"}, "Error: the export of that week is locked by the accounting run"))
        .says("Accounting has that week locked right now. Ask me again after six.")
    )


def _carrier_strike() -> Script:
    return (
        Script("slack:C07A:1698.7710", "13d2h")
        .user("is there a strike at the carriers on Friday? should we warn people?")
        .hosted(
            "web_search_call",
            "ws",
            thought="News of today: search.",
            status="completed",
            action={"type": "search", "query": "parcel carriers strike Friday depots north"},
        )
        .says(
            "Two northern depots are on strike from Friday noon to Saturday night. A tenth of our parcels pass there.",
            cites={"Depot strike announced": "https://news.example.com/depots-strike"},
        )
        .user("ok, put a banner on the shop page for postcodes 2xxxx")
        .uses(Use("set_banner", {"text": "Parcels to 2xxxx: two days longer.", "until": "Monday"}, {"banner": 31}))
        .says("The banner is on until Monday.")
    )


_TOOLS = [
    {"name": "read_page", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}},
    {"name": "write_page", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}},
]


def _web_site_change() -> Script:
    arguments = '{"path": "/care/merino", "find": "machine wash 40", "replace": "wool programme, 30"}'
    return (
        Script("slack:C07A:1699.0021", "7d6h")
        .user("the merino care page says 40 degrees. fix it before somebody felts a jumper")
        .hosted("mcp_list_tools", "mcpl", server_label="website", tools=_TOOLS)
        .hosted("mcp_approval_request", "mcpr", server_label="website", name="write_page", arguments=arguments)
        .decides(approve=True)
        .hosted(
            "mcp_call",
            "mcp",
            server_label="website",
            name="write_page",
            arguments=arguments,
            status="completed",
            output='{"page": "/care/merino", "version": 14, "changed": 1}',
        )
        .says("Fixed: the page now says wool programme, 30 degrees (version 14).")
    )


def _refused_change() -> Script:
    return (
        Script("slack:C07A:1697.5530", "48d3h")
        .user("delete the old blog posts, all of them")
        .hosted("mcp_list_tools", "mcpl", server_label="website", tools=_TOOLS)
        .hosted(
            "mcp_approval_request",
            "mcpr",
            server_label="website",
            name="write_page",
            arguments='{"path": "/blog/*", "text": ""}',
        )
        .decides(approve=False, reason="the posts bring half of our visitors", wait="42m")
        .says("Not done: Ines refused it, the posts bring half of our visitors. Shall I list those nobody reads?")
    )


def _not_approved() -> Script:
    return (
        Script("slack:C024:1696.1180", "70d")
        .user("mark everything down by 60 % today")
        .uses(Use("set_prices", {"articles": "*", "factor": 0.4}, "Tool execution was not approved."))
        .says("The price change was not approved. I left all prices as they are.")
    )


def _catalogue() -> Script:
    """The long one: thirty products looked over in one session, four items each."""
    script = Script("staff-ines:catalogue-check", "19h")
    for number, (article, name, cents, stock) in enumerate(PRODUCTS):
        seen = {"article": article, "name": name, "price": price(cents), "stock": stock, "photos": number % 4}
        script.user(f"{article}: are text, price and photos all right?", wait="14h" if number in (11, 23) else None)
        script.uses(
            Use("get_product", {"article": article, "with": ["text", "photos"]}, seen),
        )
        if seen["photos"] == 0:
            script.says(f"{name} has no photo at all. Price ({price(cents)}) and text are fine.")
        else:
            script.says(f"{name}: text fine, {price(cents)}, {seen['photos']} photos.")
    return script
