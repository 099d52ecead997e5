"""What a text calls by its name, and whether it is sure of it: words that deny, doubt or qualify.

A name may be the whole text, but for declared words before and behind it, or stand anywhere in it.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct

from cds.chart.coding import LONGEST_TEXT, whole_words

Parts = tuple[str, ...]
"""The words of a text as names are compared: small, without hyphens, commas and brackets."""

_HYPHEN = re.compile(r"[-\N{EN DASH}\N{EM DASH}]")
_PART = re.compile(r"[^\s,;:.?()\[\]]+(?:\.[^\s,;:.?()\[\]]+)*|\?")


def parts(text: str) -> Parts:
    """The words of a text; a question mark is one of its own."""
    return tuple(_PART.findall(_HYPHEN.sub(" ", text.casefold())))


# --- a name that is the whole text ---------------------------------------------------------------


class Named(Struct, frozen=True, gc=False):
    """What a text calls by its name, and whether it doubts it."""

    entry: str
    doubted: bool = False


class Around(Struct, frozen=True):
    """What may stand around a name: before it, and behind it, where the words are turned round."""

    before: frozenset[Parts]
    behind: frozenset[Parts]


class Names(Struct, frozen=True):
    """Names that are a whole text, but for what may stand around them.

    What stands ``around`` leaves the meaning as it is; with ``doubts`` it is left open.
    """

    means: dict[Parts, str]
    longest: int
    around: Around
    doubts: Around

    def find(self, text: str) -> Named | None:
        """What a text is the name of; nothing where one word of it is not declared."""
        said = parts(text)
        entry = self.means.get(said)
        if entry is not None:
            return Named(entry)
        if len(text) > LONGEST_TEXT:
            return None
        for around, doubted in ((self.around, False), (self.doubts, True)):
            begins = _reach(said, around.before)
            ends = {len(said) - far for far in _reach(said[::-1], around.behind)}
            for length in range(self.longest, 0, -1):
                for begin in begins:
                    if begin + length in ends and said[begin : begin + length] in self.means:
                        return Named(self.means[said[begin : begin + length]], doubted)
        return None

    def doubts_whole(self, text: str) -> bool:
        """Whether a text begins or ends with a doubt, whatever it names."""
        said = parts(text)
        back = said[::-1]
        return _reach(said, self.doubts.before) != _reach(said, self.around.before) or (
            _reach(back, self.doubts.behind) != _reach(back, self.around.behind)
        )


def build_names(
    names: Mapping[str, Iterable[str]],
    qualifiers: Iterable[str] = (),
    links: Iterable[str] = (),
    doubts: Iterable[str] = (),
    doubts_after: Iterable[str] = (),
) -> Names:
    """Index the names of entries with the words that may stand around them.

    Behind a name a qualifier may have one of the ``links`` before it: "of the right lung"; doubts
    may stand there as well as those of ``doubts_after``.
    """
    means = {parts(name): entry for entry, each in names.items() for name in each if parts(name)}
    before = frozenset(map(parts, qualifiers))
    behind = before | {(*parts(link), *each) for link in links for each in before}
    turned = frozenset(each[::-1] for each in behind)
    around = Around(before, turned)
    in_doubt = frozenset(map(parts, doubts))
    behind_too = in_doubt.union(map(parts, doubts_after))
    doubted = Around(before | in_doubt, turned.union(each[::-1] for each in behind_too))
    return Names(means, max(map(len, means), default=0), around, doubted)


def _reach(said: Parts, words: frozenset[Parts]) -> set[int]:
    """The places up to which, from its beginning, a text consists of these words alone."""
    longest = max(map(len, words), default=0)
    reached = {0}
    for at in range(len(said)):
        if at in reached:
            ends = range(at + 1, min(at + longest, len(said)) + 1)
            reached.update(end for end in ends if said[at:end] in words)
        elif at > max(reached):
            break
    return reached


# --- a name among other words --------------------------------------------------------------------

Hearing = Literal["said", "doubted"] | None
"""Whether a text says something, leaves it open, or does neither."""

_SENTENCE_END = re.compile(r"[;.]")
_DOUBT_BEGINS = re.compile(r"[,;.]|(?<=\w)\?")
_CLAUSE_END = re.compile(r"[,;.:()]|\s[-\N{EN DASH}\N{EM DASH}]\s|(?<=\w)\?")
_WORD = re.compile(r"\w+")
_PARTING = re.compile(r"[,)]|\s[-\N{EN DASH}\N{EM DASH}]\s")
_LETTER = re.compile(r"[^\W\d_]")
_WORD_OR_END = re.compile(r"[\w;.]")


class Denials(Struct, frozen=True):
    """Words that deny what stands behind them, or before them, or leave it open (``doubts``).

    Of the doubts those that count ``beside`` what stands before them need not end its clause.
    ``joining`` words make one list of what they stand between. ``circumstance`` is found where what
    follows a denial tells only when or how.
    """

    before: re.Pattern[str]
    after: re.Pattern[str]
    doubts: frozenset[str]
    beside: frozenset[str]
    joining: re.Pattern[str]
    circumstance: re.Pattern[str]


def build_denials(
    negations: Iterable[str],
    negations_after: Iterable[str],
    doubts: Iterable[str] = (),
    doubts_after: Iterable[str] = (),
    joining: Iterable[str] = (),
    circumstances: Iterable[str] = (),
) -> Denials:
    """Index words of denial and doubt; of two that begin at one place the longer is meant.

    A sign of doubt, such as a question mark, may touch what it doubts: "?ILD", "ILD?".
    """
    doubts, doubts_after = tuple(doubts), tuple(doubts_after)
    signs = [re.escape(each) for each in doubts if not _WORD.search(each)]
    signs_after = [re.escape(each) for each in doubts_after if not _WORD.search(each)]
    words = whole_words([*negations, *(each for each in doubts if _WORD.search(each))])
    behind = filter(_WORD.search, (*doubts, *doubts_after))
    after = whole_words([*negations_after, *behind])
    return Denials(
        re.compile("|".join([words.pattern, *(rf"(?<![\w-]){sign}" for sign in signs)])),
        re.compile("|".join([after.pattern, *(rf"{sign}(?![\w-])" for sign in signs_after)])),
        frozenset(each.casefold() for each in (*doubts, *doubts_after)),
        frozenset(each.casefold() for each in doubts_after),
        whole_words(joining),
        re.compile(rf"[\W\d_]*{whole_words(circumstances).pattern}"),
    )


def hear(hits: list[tuple[int, int]], text: str, denials: Denials) -> Hearing:
    """Whether a casefolded text says what stands at these places, or leaves it open.

    A denial before it counts within its sentence ("no infection; rapidly progressive" says it), but
    it leaves open what a comma, bracket or dash parts from it and no word joins: "CADM without
    weakness, ILD" may say it, and "no fever, cough or ILD" does not. A denial after it counts
    within its clause, and a clause that is nothing but one, and tells at most when or how ("ILD,
    ruled out", "ILD (excluded by CT)"), belongs to what stands before. A doubt before
    it counts within its clause. One after it counts where it ends the clause ("ILD with possible
    infection" does not doubt ILD), and some also where they stand next to it: "ILD suspected on CT"
    does, but "ILD probable UIP" does not.

    The text is gone through once for each of the things looked for.
    """
    if not hits:
        return None
    sentences = [0, *(end.end() for end in _SENTENCE_END.finditer(text))]
    before = [(hit.start(), hit[0] in denials.doubts) for hit in denials.before.finditer(text)]
    after = [(hit[0], *hit.span()) for hit in denials.after.finditer(text)]
    denied = [start for start, doubts in before if not doubts]
    parted = [hit.start() for hit in _PARTING.finditer(text)] if denied else []
    joining = [hit.start() for hit in denials.joining.finditer(text)] if denied else []
    ruled = [(start, end) for word, start, end in after if word not in denials.doubts]
    ruled_ends = [end for _, end in ruled]
    clause_ends = [*(end.start() for end in _CLAUSE_END.finditer(text)), len(text)]
    closing = [
        start
        for start, end in ruled
        if not _LETTER.search(text, end, clause_end := clause_ends[bisect_left(clause_ends, end)])
        or denials.circumstance.match(text, end, clause_end)
    ]
    doubted = _Doubts(
        text,
        [start for start, doubts in before if doubts],
        [(start, end) for word, start, end in after if word in denials.doubts],
        [start for word, start, _ in after if word in denials.beside],
        clause_ends,
    )
    heard: Hearing = None
    for begins, ends in hits:
        sentence = sentences[bisect_right(sentences, begins) - 1]
        inner_end = clause_ends[bisect_left(clause_ends, ends)]
        if bisect_right(ruled_ends, ends) < bisect_right(ruled_ends, inner_end):
            continue
        nearest = _next(closing, ends)
        if nearest is not None and not _WORD_OR_END.search(text, ends, nearest):
            continue
        last = bisect_left(denied, begins)
        if bisect_left(denied, sentence) < last:
            part = bisect_left(parted, begins) - 1
            is_parted = part >= bisect_left(parted, denied[last - 1])
            if is_parted and not _has(joining, parted[part], begins):
                heard = "doubted"
            continue
        if not doubted.at(begins, ends):
            return "said"
        heard = "doubted"
    return heard


class _Doubts:
    """The words of doubt of a text, and how far each of them reaches."""

    def __init__(
        self,
        text: str,
        before: list[int],
        after: list[tuple[int, int]],
        beside: list[int],
        clause_ends: list[int],
    ) -> None:
        self._before = before
        self._after = bool(after)
        self._beside = beside
        if before:
            self._begins = [0, *(end.end() for end in _DOUBT_BEGINS.finditer(text))]
        if after:
            self._ends = clause_ends
            self._sentence_ends = [*(e.start() for e in _SENTENCE_END.finditer(text)), len(text)]
            self._words = [word.start() for word in _WORD.finditer(text)]
            self._closing = [
                start
                for start, end in after
                # A question mark ends its clause whatever follows.
                if not _WORD.search(text[end - 1]) or not self._word_between(end, self._end(end))
            ]

    def at(self, begins: int, ends: int) -> bool:
        """Whether what stands from one place to another is left open."""
        if self._before:
            clause = self._begins[bisect_right(self._begins, begins) - 1]
            if bisect_left(self._before, clause) < bisect_left(self._before, begins):
                return True
        if not self._after:
            return False
        clause_end = self._end(ends)
        nearest = _next(self._beside, ends)
        if nearest is not None and nearest <= clause_end and not self._word_between(ends, nearest):
            return True
        closing = _next(self._closing, ends)
        if closing is None:
            return False
        # "ILD, suspected": a clause that has nothing but the doubt belongs to the one before it.
        sentence_end = self._sentence_ends[bisect_left(self._sentence_ends, ends)]
        alone = closing <= sentence_end and not self._word_between(ends, closing)
        return closing <= clause_end or alone

    def _end(self, at: int) -> int:
        return self._ends[bisect_left(self._ends, at)]

    def _word_between(self, first: int, last: int) -> bool:
        return _has(self._words, first, last)


def _has(places: list[int], first: int, last: int) -> bool:
    """Whether one of these places lies from the first up to the last."""
    return bisect_left(places, first) < bisect_left(places, last)


def _next(places: list[int], at: int) -> int | None:
    found = bisect_left(places, at)
    return places[found] if found < len(places) else None
