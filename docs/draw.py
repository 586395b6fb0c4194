"""Draw the pictures of the docs again: `python docs/draw.py`.

It runs the samples of reverse-mapping.md. Each name that a sample binds to a drawing is a picture: `rc1_lost`
goes to img/rmap/rc1-lost.svg. Therefore the pictures match the text, and nothing is drawn by hand.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from memgroup.rmap import Drawing

DOCS = Path(__file__).parent
CHAPTER = DOCS / "reverse-mapping.md"
PICTURES = DOCS / "img" / "rmap"


def pictures() -> dict[str, Drawing]:
    """The pictures by file name, in the order of the chapter.

    Raises:
        ValueError: Two samples make a picture of the same name.
    """
    made: dict[str, Drawing] = {}
    for sample in re.findall(r"```python\n(.*?)```", CHAPTER.read_text(encoding="utf-8"), re.DOTALL):
        names: dict[str, object] = {}
        exec(sample, names)
        for name, drawing in names.items():
            if isinstance(drawing, Drawing) and name != "_":
                file = f"{name.replace('_', '-')}.svg"
                if file in made:
                    raise ValueError(
                        f"two samples of {CHAPTER.name} make {file}: give one of them another name"
                    )
                made[file] = drawing
    return made


def main() -> int:
    """Write the pictures, and remove those that no sample makes any more."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    made = pictures()
    for file, drawing in made.items():
        drawing.save(PICTURES / file)
    for old in PICTURES.glob("*.svg"):
        if old.name not in made:
            old.unlink()
    print(f"{len(made)} pictures in {PICTURES}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
