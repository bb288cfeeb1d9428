"""What a role counts, in Prometheus's text format."""

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

__all__ = ["Metrics"]


class Metrics:
    """The numbers of one role, in a registry of their own."""

    def __init__(self, role: str):
        self.registry = CollectorRegistry()

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"hpu_{role}_{name}", text, labels, registry=self.registry)

        def counter(name: str, text: str) -> Counter:
            return Counter(f"hpu_{role}_{name}", text, registry=self.registry)

        self.orders = gauge("orders", "Orders by their state in the journal.", "state")
        self.block = gauge("block", "Last block whose events were taken in.")
        self.stored = gauge("stored_bytes", "Bytes of content in the store.")
        self.balance = gauge("market_balance_hai", "HAI that the market holds for the account.")
        self.proofs = counter("proofs", "Proofs given or checked.")
        self.requests = counter("requests", "Messages received.")
        self.failures = counter("failures", "Steps that failed; they are tried again.")
        self.seconds = counter("device_seconds", "Seconds that the device computed.")

    def text(self) -> bytes:
        """All numbers."""
        return generate_latest(self.registry)
