# pragma version 0.4.3
"""
@title Court
@license Apache-2.0
@notice Opens disputes for anybody and keeps their verdicts, in the market's place: to try and to
        measure disputes without orders. It holds no money.
"""

struct Outcome:
    output: bytes32
    trace: bytes32

struct Dispute:
    order: bytes32
    model: bytes32
    input: bytes32
    accused: address
    challenger: address
    given: Outcome
    claimed: Outcome

interface IDisputes:
    def open(dispute: Dispute): nonpayable

struct Verdict:
    guilty: address
    proven: bool

verdicts: public(HashMap[bytes32, Verdict])
_disputes: HashMap[bytes32, address]


@external
def open(disputes: address, dispute: Dispute):
    """
    @notice Open a dispute that this contract may open.
    """
    self._disputes[dispute.order] = disputes
    self.verdicts[dispute.order] = empty(Verdict)
    extcall IDisputes(disputes).open(dispute)


@external
def resolve(order: bytes32, guilty: address, proven: bool):
    """
    @notice The disputes' verdict.
    """
    assert msg.sender == self._disputes[order], "court: no such dispute"
    self.verdicts[order] = Verdict(guilty=guilty, proven=proven)
