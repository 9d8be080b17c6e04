"""What each verdict looks like on the page."""

LOOKS = {
    "better": ("better", "▲"),
    "worse": ("worse", "▼"),
    "no detectable difference": ("none", "≈"),
    "too few runs": ("few", "…"),
    "not comparable": ("apart", "≠"),
    "baseline": ("base", "◆"),
}
"""Per verdict word, in the order to sort by: the CSS's name for it and a sign beside the colour."""
