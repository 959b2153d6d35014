"""What a store is mostly made of: many short sessions, asked once and never again, and jobs that run at night."""

from __future__ import annotations

from collections.abc import Iterator

from sessionctl.demo.catalogue import PRODUCTS
from sessionctl.demo.script import Json, Script, Use

# session, age, question, tool, its arguments, its output, answer
_ASKED: tuple[tuple[str, str, str, str, Json, object, str], ...] = (
    (
        "user-29:order-help", "1d4h", "can I still add stitch markers to 4496?",
        "add_to_order", {"order": 4496, "article": "AC-501"}, {"order": 4496, "total": "45.10 €"},
        "Added. The new total is 45.10 €, and nothing else changes.",
    ),
    (
        "user-33:opening-hours", "3d", "are you open on saturday",
        "opening_hours", {"day": "saturday"}, "10-14", "Yes, from ten to two.",
    ),
    (
        "user-35:gauge", "6d11h", "18 stitches instead of 22 with 4.0, what now?",
        "gauge_help", {"have": 18, "want": 22, "needle": 4.0}, {"try": [3.25, 3.5]},
        "You knit loosely. Try 3.5 mm first, then 3.25 mm.",
    ),
    (
        "user-47:order-help", "18d", "please cancel 4310",
        "cancel_order", {"order": 4310}, {"error": "already handed to the carrier"},
        "Too late to cancel, it is with the carrier. Refuse the parcel at the door and you get everything back.",
    ),
    (
        "user-52:wool-allergy", "24d", "which of your yarns have no wool in them?",
        "search_products", {"without": "wool"}, ["YN-130", "YN-131"], "The cotton ones: YN-130 and YN-131.",
    ),
    (
        "user-61:pattern", "36d", "page 4 of the mitten pattern is missing",
        "send_pattern", {"kit": "KT-402", "page": 4}, {"sent": True}, "I have mailed you the whole pattern again.",
    ),
    (
        "user-70:pickup", "42d", "can I pick up in the shop?",
        "pickup_slots", {}, ["Thu 15:00", "Fri 11:00"], "Yes: Thursday from three or Friday from eleven.",
    ),
    (
        "user-71:left-handed", "58d", "is the book ok for left handed people?",
        "get_product", {"article": "BK-601"}, {"left_handed": "charts mirrored in appendix"},
        "Yes, its charts are printed mirrored in the appendix.",
    ),
    (
        "user-81:bulk", "83d", "price for 60 balls of cotton, for a school",
        "bulk_price", {"article": "YN-130", "pieces": 60}, {"each": "5.90 €"}, "5.90 € each, and free shipping.",
    ),
    (
        "user-84:moths", "96d", "moths!!! what do I do",
        "search_help", {"query": "moths"}, ["freeze for a week", "cedar", "wash at 30"],
        "Put everything into the freezer for a week, then wash it at 30 degrees.",
    ),
    (
        "user-95:dye-lot", "104d", "do you have YN-101 in lot 88?",
        "get_lots", {"article": "YN-101"}, ["91", "92"], "Not any more: we have lots 91 and 92.",
    ),
)  # fmt: skip

_NIGHTS = (("0412", "10h"), ("0411", "1d10h"), ("0405", "7d10h"), ("0384", "28d10h"), ("0370", "42d10h"))
_NIGHTS_OF_OLD = (("0321", "91d10h"), ("0302", "110d10h"))


def scripts() -> Iterator[Script]:
    for session, age, question, tool, arguments, output, answer in _ASKED:
        yield Script(session, age).user(question).uses(Use(tool, arguments, output)).says(answer)
    for run, age in _NIGHTS + _NIGHTS_OF_OLD:
        yield _night(run, age)


def _night(run: str, age: str) -> Script:
    """The robot counts a few shelves and reports what differs."""
    first = int(run) % (len(PRODUCTS) - 5)
    counted = PRODUCTS[first : first + 5]
    found = {article: max(0, stock - (number == 2)) for number, (article, _, _, stock) in enumerate(counted)}
    return (
        Script(f"nightly:stock-count:run-{run}", age)
        .user(f"Count shelf {first // 6 + 1}, compare, report. Do not correct anything.")
        .uses(*(Use("count_shelf", {"article": article}, {"counted": found[article]}) for article, *_ in counted))
        .uses(
            Use("compare", {"counted": found}, {"differs": [counted[2][0]] if counted[2][3] else []}),
            thought="All five counted. Compare before reporting; corrections are not mine to make.",
        )
        .says(f"Five articles counted, {'one differs: ' + counted[2][1] if counted[2][3] else 'none differs'}.")
    )
