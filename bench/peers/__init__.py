"""What Charloom is measured against, written as users of these libraries would write it."""
