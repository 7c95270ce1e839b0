"""Who is on the host: each guest's number and slot, and what was last asked of it.

Numbers are never used twice, so that what policy and guard remember of a guest cannot pass to
another; slots are used again, so that arrays stay small.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

FIRST_SLOTS = 8  # doubled whenever they do not suffice


@dataclass
class Entry:
    """One guest."""

    guest_id: int
    slot: int
    name: str
    target_bytes: int = -1  # last one sent, -1 none yet
    sent_at_s: float = 0.0  # when that one was first sent, on the host's clock


class Roster:
    """Guests by the key of their backend: one key is one life of one emulator."""

    def __init__(self) -> None:
        """Nobody is here yet."""
        self.entries: dict[str, Entry] = {}
        self.slots = FIRST_SLOTS
        self._next_id = 1

    def update(self, names: Mapping[str, str]) -> None:
        """Note who is here now: key -> name; the others are forgotten."""
        for key in set(self.entries) - set(names):
            del self.entries[key]
        for key, name in names.items():
            if key in self.entries:
                self.entries[key].name = name  # guests may be renamed
            else:
                self.entries[key] = Entry(self._next_id, self._free_slot(), name)
                self._next_id += 1

    def sent(self, key: str, target_bytes: int, now_s: float) -> None:
        """Note a target that was sent; its age begins when it is first sent."""
        entry = self.entries[key]
        if entry.target_bytes != target_bytes:
            entry.target_bytes, entry.sent_at_s = target_bytes, now_s

    def names(self) -> dict[int, str]:
        """Names by guest_id; where two are of one name, the number tells them apart."""
        often = Counter(entry.name for entry in self.entries.values())
        return {
            one.guest_id: one.name if often[one.name] == 1 else f"{one.name}#{one.guest_id}"
            for one in self.entries.values()
        }

    def key_at(self, slot: int) -> str | None:
        """The guest in a slot."""
        return next((key for key, entry in self.entries.items() if entry.slot == slot), None)

    def as_dict(self) -> dict[str, Any]:
        """Everything, as plain data."""
        entries = {key: vars(entry).copy() for key, entry in self.entries.items()}
        return {"next_id": self._next_id, "slots": self.slots, "entries": entries}

    def load(self, data: Mapping[str, Any]) -> None:
        """Become what `as_dict` told.

        Raises:
            ValueError: it is no such data; the roster is as before.
        """
        try:
            entries = {str(key): Entry(**value) for key, value in data["entries"].items()}
            next_id, slots = int(data["next_id"]), int(data["slots"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"roster: {type(error).__name__}: {error}") from error
        used = [entry.slot for entry in entries.values()]
        ids = [entry.guest_id for entry in entries.values()]
        sound = len(set(used)) == len(used) and all(0 <= slot < slots for slot in used)
        if not sound or len(set(ids)) < len(ids) or any(not 0 < one < next_id for one in ids):
            raise ValueError("roster: slots or numbers are used twice or out of range")
        self.entries, self.slots, self._next_id = entries, slots, next_id

    def _free_slot(self) -> int:
        used: Collection[int] = {entry.slot for entry in self.entries.values()}
        slot = next(slot for slot in range(len(used) + 1) if slot not in used)
        while slot >= self.slots:
            self.slots *= 2
        return slot
