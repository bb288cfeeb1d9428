"""The chain's history as it is told on the dashboard: read from the beginning at every start."""

from hpu.chain_integration.roles.history import Event, History
from hpu.chain_integration.roles.journal import Journal
from hpu.chain_integration.roles.ledger import WATCHED, Ledger, Watcher

__all__ = ["Telling"]


class Telling:
    """A history that follows the chain; after a fork it is told anew.

    Parameters
    ----------
    ledger:
        The chain.
    """

    def __init__(self, ledger: Ledger):
        self._ledger = ledger
        self.history = History()
        self._begin()

    def _begin(self) -> None:
        self.history = History()
        contracts = self._ledger.contracts
        self._watcher = Watcher(
            self._ledger.connection,
            [contracts[name] for name in WATCHED],
            Journal(":memory:"),
            first=contracts.block,
        )

    def update(self) -> History:
        """Take in what is new."""
        for events in self._watcher.poll():
            if events and events[0].block <= self.history.block:
                self._begin()
                return self.update()
            for event in events:
                when = self._time(event.block)
                self.history.take(Event(event.name, event.fields, event.block, when))
        return self.history

    def _time(self, number: int) -> int:
        if number == self.history.block:
            return self.history.time
        return self._ledger.connection.block(number)["timestamp"]
