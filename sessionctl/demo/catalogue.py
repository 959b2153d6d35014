"""What the shop sells."""

from __future__ import annotations

PRODUCTS: tuple[tuple[str, str, int, int], ...] = (
    # article, name, price in cents, pieces in stock
    ("YN-101", "Merino fingering, moss", 1450, 84),
    ("YN-102", "Merino fingering, rust", 1450, 12),
    ("YN-103", "Merino fingering, night blue", 1450, 0),
    ("YN-110", "Alpaca lace, undyed", 1890, 31),
    ("YN-111", "Alpaca lace, graphite", 1890, 7),
    ("YN-120", "Sock yarn, speckled sea", 1290, 140),
    ("YN-121", "Sock yarn, speckled fire", 1290, 96),
    ("YN-122", "Sock yarn, plain grey", 990, 260),
    ("YN-130", "Cotton DK, cream", 690, 410),
    ("YN-131", "Cotton DK, tomato", 690, 388),
    ("YN-140", "Tweed aran, heather", 1120, 54),
    ("YN-141", "Tweed aran, peat", 1120, 3),
    ("ND-201", "Circular needle 3.5 mm, 80 cm", 890, 66),
    ("ND-202", "Circular needle 4.0 mm, 80 cm", 890, 71),
    ("ND-203", "Circular needle 5.0 mm, 100 cm", 940, 18),
    ("ND-210", "Double-pointed needles 2.5 mm, set of 5", 760, 120),
    ("ND-211", "Double-pointed needles 3.0 mm, set of 5", 760, 0),
    ("ND-220", "Interchangeable set, birch, 8 sizes", 7900, 9),
    ("HK-301", "Crochet hook 3 mm, soft grip", 590, 77),
    ("HK-302", "Crochet hook 4 mm, soft grip", 590, 59),
    ("KT-401", "Kit: first scarf", 2990, 41),
    ("KT-402", "Kit: striped mittens", 3490, 26),
    ("KT-403", "Kit: baby blanket, cotton", 5490, 15),
    ("KT-404", "Kit: yoke jumper, adult sizes", 8990, 6),
    ("AC-501", "Stitch markers, tin of 40", 650, 310),
    ("AC-502", "Row counter, wooden", 1180, 44),
    ("AC-503", "Blocking mats, set of 9", 2750, 21),
    ("AC-504", "Wool wash, lavender, 500 ml", 990, 133),
    ("AC-505", "Project bag, linen", 2200, 38),
    ("BK-601", "Book: Colourwork for the patient", 3200, 11),
)


def price(cents: int) -> str:
    """``"14.50 €"``."""
    return f"{cents / 100:.2f} €"
