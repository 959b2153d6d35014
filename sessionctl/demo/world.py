"""Customers who write in other languages and scripts, with ids that show it."""

from __future__ import annotations

from collections.abc import Iterator

from sessionctl.demo.script import Script, Use, handoff


def scripts() -> Iterator[Script]:
    yield _chinese()
    yield _arabic()
    yield _hebrew()
    yield _japanese()
    yield _german()
    yield _emoji()


def _chinese() -> Script:
    return (
        Script("wechat:客户-2071", "5h20m")
        .user("你好，羊驼毛蕾丝线的石墨色还有货吗？我需要八团。")
        .uses(Use("get_stock", {"article": "YN-111"}, {"article": "YN-111", "名称": "羊驼毛蕾丝线·石墨色", "stock": 7}))
        .says("您好！石墨色目前只剩七团。本色（YN-110）还有三十一团，也可以为您预订八团石墨色，两周后到货。")
        .user("那就预订吧，同一个缸号。", wait="9m")
        .uses(
            Use(
                "reserve",
                {"article": "YN-111", "pieces": 8, "same_lot": True},
                {"reservation": "RS-310", "到货": "约两周"},
            )
        )
        .says("已预订八团，同一缸号，预订号 RS-310。到货后会通知您。")
    )


def _arabic() -> Script:
    return (
        Script("عميل-٥١:استفسار", "27d8h")
        .user("مرحبًا، هل يمكن غسل خيط الصوف الرمادي في الغسالة؟")
        .uses(Use("get_product", {"article": "YN-122"}, {"الاسم": "خيط جوارب رمادي", "wash": "wool programme, 30 °C"}))
        .says("نعم، على برنامج الصوف بدرجة 30 مئوية ومن دون مجفف. يُفضَّل استخدام سائل غسل الصوف AC-504.")
        .user("شكرًا جزيلًا!")
        .says("على الرحب والسعة.")
    )


def _hebrew() -> Script:
    return (
        Script("לקוח-8:מידות", "88d")
        .user("איזה גודל מסרגות מתאים לגרביים?")
        .says("לרוב 2.5 מ״מ (ND-210). אם את סורגת הדוק, קחי 3.0 מ״מ.")
    )


def _japanese() -> Script:
    return (
        Script("line:U91ac:編み物", "38d4h")
        .user("はじめまして。赤ちゃんのブランケットのキットは、日本へ送っていただけますか。")
        .uses(
            Use("shipping_quote", {"article": "KT-403", "country": "JP"}, {"price": "24.50 €", "days": "8-12"}),
            Use("get_stock", {"article": "KT-403"}, {"stock": 15}),
            thought="日本への送料と在庫を同時に確認する。",
        )
        .says("はい、お送りできます。送料は24.50ユーロ、8〜12日ほどで届きます。在庫は15セットございます。")
    )


def _german() -> Script:
    return (
        Script("user-12:retoure-größe", "12d7h")
        .user("Guten Tag, die Rundstricknadel ist zu kurz. Umtausch in 100 cm möglich?")
        .uses(handoff("Returns"))
        .uses(
            Use("find_orders", {"customer": 12, "article": "ND-202"}, [{"order": 4288, "geliefert": "vor 3 Tagen"}]),
            Use("get_stock", {"article": "ND-203"}, {"stock": 18}),
        )
        .says("Gern. Das Rücksendeetikett ist unterwegs; die längere Nadel (ND-203) kostet 0,50 € mehr. Einverstanden?")
        .user("Ja, für die Übergröße genau richtig. Vielen Dank!", wait="1h5m")
        .uses(
            Use(
                "exchange",
                {"order": 4288, "from": "ND-202", "to": "ND-203"},
                {"exchange": "UM-77", "zuzahlung": "0,50 €"},
            )
        )
        .says("Der Umtausch UM-77 ist angelegt. Schöne Grüße aus dem Lager!")
    )


def _emoji() -> Script:
    return (
        Script("🧶-club:newsletter", "45d")
        .user("sign me up 🧶🧦 👩‍👩‍👧 (all three of us!)")
        .uses(Use("subscribe", {"list": "🧶-club", "people": 3}, {"confirmed": False, "mails_sent": 3}))
        .says("Almost there: please open the three mails and confirm. Welcome to the club! 🎉")
    )
