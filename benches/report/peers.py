"""Who is compared in the plots, as benches/peers.toml explains it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from report.remarks import Remark, text_of


def table(names: Iterable[str], given: list[Remark]) -> Iterator[str]:
    """Yield the lines of the table: the peers of one remark share a line.

    Raises:
        LookupError: There is no remark about a peer.
    """
    explained: dict[str, list[str]] = {remark.text: [] for remark in given}
    for name in dict.fromkeys(names):
        text = text_of(name, given)
        if text is None:
            raise LookupError(f"explain {name} in benches/peers.toml")
        explained[text].append(name)
    yield "| peer | |"
    yield "| --- | --- |"
    for text, peers in explained.items():
        if peers:
            yield f"| {', '.join(peers)} | {text} |"
