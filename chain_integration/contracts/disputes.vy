# pragma version 0.4.3
# pragma optimize gas
"""
@title Disputes
@license Apache-2.0
@notice A challenger leads the accused supplier from the root of its execution trace down to one
        byte that is wrong: the accused shows the nodes below the present one, the challenger names
        one of them, until one layer, then until one leaf of the layer's result. Then the byte is
        recomputed here, from the inputs that the accused itself committed to. Each move has a
        clock; who does not move loses. Only a byte that is not what it must be convicts.

        A trace is a tree with a leaf for every layer, the root of its result, and one more leaf,
        the root of the network's outputs. A model is a tree with a leaf for every layer, its
        description, and one more leaf, the list of the outputs.
"""

import elements
import merkle

struct Outcome:
    output: bytes32  # root of the outputs
    trace: bytes32  # root of the execution trace

struct Dispute:
    order: bytes32
    model: bytes32
    input: bytes32  # root of the inputs
    accused: address
    challenger: address
    given: Outcome  # by the accused
    claimed: Outcome  # by the challenger

interface IMarket:
    # What came of a dispute that the market opened.
    # `proven`: it was shown that `guilty` committed to a wrong byte; else it did not move in time.
    def resolve(order: bytes32, guilty: address, proven: bool): nonpayable

# Where a dispute stands; `turn` says who moves.
struct Game:
    model: bytes32
    input: bytes32
    output: bytes32
    trace: bytes32
    accused: address
    challenger: address
    turn: uint256
    deadline: uint256
    moves: uint256
    layers: uint256  # leaves of trace and model
    layer: uint256  # number of the layer in dispute
    description: bytes32  # hash of it; empty as long as the way leads through the trace
    leaves: uint256  # of the tree that the way leads through
    level: uint256  # of the present node, above the leaves
    index: uint256  # of the present node in its level
    claim: bytes32  # hash of the present node
    fresh: bool  # the claim is the leaf that holds the root of a tree not yet entered
    kind: uint256  # of the layer
    size: uint256  # bytes of the layer's result

# Turns.
OVER: constant(uint256) = 0
BEGIN: constant(uint256) = 1  # accused: show the beginning of the trace
PICK: constant(uint256) = 2  # challenger: name a node
SHOW: constant(uint256) = 3  # accused: show the nodes below
NAME: constant(uint256) = 4  # challenger: show the layer's description
LEAF: constant(uint256) = 5  # accused: show the bytes of a leaf
PROVE: constant(uint256) = 6  # challenger: show the inputs of a wrong byte
PROVE_OUTPUT: constant(uint256) = 7  # challenger: show the layer that an output is not

MOVE_TIME: public(constant(uint256)) = 2 * 3600
INPUT: constant(uint256) = 2**32
MAX_LAYERS: constant(uint256) = 2**20

event Opened:
    order: indexed(bytes32)
    accused: indexed(address)
    challenger: indexed(address)

# A move was made, and who is to move next, until when.
event Moved:
    order: indexed(bytes32)
    turn: uint256
    deadline: uint256

event Shown:
    order: indexed(bytes32)
    nodes: DynArray[bytes32, merkle.FAN]

event Picked:
    order: indexed(bytes32)
    level: uint256
    index: uint256

event Named:
    order: indexed(bytes32)
    layer: uint256

event LeafShown:
    order: indexed(bytes32)
    data: Bytes[merkle.CHUNK]

event Closed:
    order: indexed(bytes32)
    guilty: indexed(address)
    proven: bool
    moves: uint256

market: public(immutable(IMarket))
machine: public(immutable(address))

games: public(HashMap[bytes32, Game])


@deploy
def __init__(market_: address, machine_: address):
    """
    @param market_ Who opens disputes; it may be made later in the same deployment.
    @param machine_ A contract `elements`.
    """
    market = IMarket(market_)
    machine = machine_


@external
def open(dispute: Dispute):
    """
    @notice Begin a dispute; the accused moves first.
    """
    assert msg.sender == market.address, "disputes: only the market may do this"
    assert self.games[dispute.order].turn == OVER, "disputes: there is one already"
    game: Game = empty(Game)
    game.model = dispute.model
    game.input = dispute.input
    game.output = dispute.given.output
    game.trace = dispute.given.trace
    game.accused = dispute.accused
    game.challenger = dispute.challenger
    self.games[dispute.order] = game
    log Opened(order=dispute.order, accused=dispute.accused, challenger=dispute.challenger)
    self._pass(dispute.order, BEGIN)


@external
def begin(
    order: bytes32,
    layers: uint256,
    model_top: bytes32,
    nodes: DynArray[bytes32, merkle.FAN],
    path: DynArray[bytes32, merkle.MAX_PATH],
):
    """
    @notice The accused shows that its trace has a leaf for every layer of the model and that the
            last is the output that it gave, and the trace's highest nodes.
    @param layers Leaves of the model's tree, and of the trace.
    @param path Of the last leaf of the trace.
    """
    self._check(order, BEGIN)
    assert layers > 1 and layers <= MAX_LAYERS, "disputes: wrong number of layers"
    game: Game = self.games[order]
    assert merkle._sealed(layers, model_top) == game.model, "disputes: not the model's layers"
    last: bytes32 = merkle._leaf32(game.output)
    found: bytes32 = merkle._path_root(last, unsafe_sub(layers, 1), layers, path)
    assert found == game.trace, "disputes: the trace does not end with the output"
    top: bytes32 = self._joined(layers, merkle._height(layers), 0, nodes)
    assert merkle._sealed(layers, top) == game.trace, "disputes: not the nodes of the trace"
    self.games[order].layers = layers
    self.games[order].leaves = layers
    self.games[order].level = merkle._height(layers)
    self.games[order].claim = top
    log Shown(order=order, nodes=nodes)
    self._pass(order, PICK)


@internal
@pure
def _joined(
    leaves: uint256,
    level: uint256,
    index: uint256,
    nodes: DynArray[bytes32, merkle.FAN],
) -> bytes32:
    """
    @notice The node of a tree of `leaves` leaves that has `nodes` below it, which must be as many
            as there are up to four levels down: fewer could be passed off as nodes further down.
    """
    down: uint256 = min(level, merkle.FAN_LEVELS)
    width: uint256 = (unsafe_sub(leaves, 1) >> unsafe_sub(level, down)) + 1
    expected: uint256 = min((index + 1) << down, width) - (index << down)
    assert len(nodes) == expected, "disputes: wrong number of nodes"
    return merkle._fold(nodes, down)


@external
def pick(order: bytes32, nodes: DynArray[bytes32, merkle.FAN], which: uint256):
    """
    @notice The challenger names one of the nodes that the accused has shown.
    @param nodes The nodes, once more.
    """
    self._check(order, PICK)
    game: Game = self.games[order]
    down: uint256 = min(game.level, merkle.FAN_LEVELS)
    found: bytes32 = self._joined(game.leaves, game.level, game.index, nodes)
    assert found == game.claim, "disputes: not the nodes that were shown"
    level: uint256 = unsafe_sub(game.level, down)
    index: uint256 = unsafe_add(game.index << down, which)
    self.games[order].level = level
    self.games[order].index = index
    self.games[order].claim = nodes[which]
    log Picked(order=order, level=level, index=index)
    if level != 0:
        self._pass(order, SHOW)
    elif game.description == empty(bytes32):
        self.games[order].layer = index
        self._pass(order, NAME)
    elif game.kind == elements.OUTPUT:
        self._pass(order, PROVE_OUTPUT)
    else:
        self._pass(order, LEAF)


@external
def name(
    order: bytes32, layer: elements.Layer, path: DynArray[bytes32, merkle.MAX_PATH]
):
    """
    @notice The challenger shows the description of the layer that it named.
    @param path Of the layer's leaf in the model.
    """
    self._check(order, NAME)
    game: Game = self.games[order]
    description: bytes32 = self._description(layer)
    found: bytes32 = merkle._path_root(description, game.layer, game.layers, path)
    assert found == game.model, "disputes: not the model's layer"
    size: uint256 = layer.shape[0] * layer.shape[1] * layer.shape[2] * layer.shape[3]
    leaves: uint256 = (size + merkle.CHUNK - 1) // merkle.CHUNK
    if layer.kind == elements.OUTPUT:
        leaves = layer.records
    self.games[order].description = description
    self.games[order].kind = layer.kind
    self.games[order].size = size
    self.games[order].leaves = leaves
    self.games[order].level = merkle._height(leaves)
    self.games[order].index = 0
    self.games[order].fresh = True
    log Named(order=order, layer=game.layer)
    self._pass(order, SHOW)


@external
def show(order: bytes32, nodes: DynArray[bytes32, merkle.FAN]):
    """
    @notice The accused shows all the nodes up to four levels below the present one.
    """
    self._check(order, SHOW)
    game: Game = self.games[order]
    top: bytes32 = self._joined(game.leaves, game.level, game.index, nodes)
    found: bytes32 = top
    if game.fresh:
        found = merkle._leaf32(merkle._sealed(game.leaves, top))
    assert found == game.claim, "disputes: not the nodes below"
    self.games[order].claim = top
    self.games[order].fresh = False
    log Shown(order=order, nodes=nodes)
    self._pass(order, PICK)


@external
def leaf(order: bytes32, data: Bytes[merkle.CHUNK]):
    """
    @notice The accused shows the bytes of the leaf that the challenger named.
    """
    self._check(order, LEAF)
    game: Game = self.games[order]
    assert len(data) == merkle.CHUNK, "disputes: a leaf has 256 bytes"
    assert merkle._leaf(data) == game.claim, "disputes: not the bytes of the leaf"
    for k: uint256 in range(8):
        at: uint256 = game.index * merkle.CHUNK + k * 32
        used: uint256 = min(max(game.size, at) - at, 32)
        word: uint256 = convert(extract32(data, k * 32), uint256)
        assert word << (8 * used) == 0, "disputes: bytes behind the tensor must be zero"
    log LeafShown(order=order, data=data)
    self._pass(order, PROVE)


@external
def prove(
    order: bytes32,
    layer: elements.Layer,
    offset: uint256,
    data: Bytes[merkle.CHUNK],
    x_root: bytes32,
    x_path: DynArray[bytes32, merkle.MAX_PATH],
    y_root: bytes32,
    y_path: DynArray[bytes32, merkle.MAX_PATH],
    shown: elements.Shown,
):
    """
    @notice The challenger has one byte of the leaf recomputed; when another comes out than was
            committed to, the accused has lied.
    @param offset Of the byte in the leaf.
    @param data The bytes of the leaf, once more.
    @param x_root Root of the layer's input, in the accused's trace or of the order, and `x_path`
                  where it stands there; the same for y.
    """
    self._check(order, PROVE)
    game: Game = self.games[order]
    assert self._description(layer) == game.description, "disputes: not the layer in dispute"
    assert merkle._leaf(data) == game.claim, "disputes: not the bytes of the leaf"
    position: uint256 = game.index * merkle.CHUNK + offset
    assert offset < merkle.CHUNK and position < game.size, "disputes: no such byte"
    computed: int256 = 0
    x: uint256 = 0
    y: uint256 = 0
    computed, x, y = staticcall elements.__interface__(machine).compute(
        layer, position, x_root, y_root, shown
    )
    self._check_tensor(game, layer.inputs, x, x_root, x_path)
    self._check_tensor(game, layer.inputs, y, y_root, y_path)
    given: int256 = convert(convert(slice(data, offset, 1), uint256) ^ 128, int256) - 128
    assert computed != given, "disputes: the byte is right"
    self._close(order, game.accused, True)


@external
def prove_output(
    order: bytes32,
    layer: elements.Layer,
    chunk: Bytes[merkle.CHUNK],
    chunk_path: DynArray[bytes32, merkle.MAX_PATHS],
    root: bytes32,
    path: DynArray[bytes32, merkle.MAX_PATH],
):
    """
    @notice The challenger shows that an output is not the result of the layer that gives it.
    @param chunk Leaf of the list of outputs, and `chunk_path` its path.
    @param root Root of the layer's result in the accused's trace, and `path` where it stands.
    """
    self._check(order, PROVE_OUTPUT)
    game: Game = self.games[order]
    assert self._description(layer) == game.description, "disputes: not the layer in dispute"
    count: uint256 = (layer.records + 7) // 8
    spans: DynArray[uint256, merkle.MAX_SPANS] = [(game.index // 8) << 32 | 1]
    used: uint256 = merkle._open(layer.record_root, count, chunk, spans, chunk_path, 0)
    assert used == len(chunk_path), "disputes: proof has a wrong length"
    source: uint256 = convert(extract32(chunk, game.index % 8 * 32), uint256)
    self._check_tensor(game, layer.inputs, source, root, path)
    assert merkle._leaf32(root) != game.claim, "disputes: the output is right"
    self._close(order, game.accused, True)


@internal
@view
def _check_tensor(
    game: Game,
    inputs: uint256,
    tensor: uint256,
    root: bytes32,
    path: DynArray[bytes32, merkle.MAX_PATH],
):
    """
    @notice `root` must be that of a tensor: of a layer in the accused's trace, or of an input.
    """
    if tensor == elements.NO_TENSOR:
        return
    hashed: bytes32 = merkle._leaf32(root)
    if tensor < INPUT:
        found: bytes32 = merkle._path_root(hashed, tensor, game.layers, path)
        assert found == game.trace, "disputes: not a result of the trace"
    else:
        found: bytes32 = merkle._path_root(hashed, tensor - INPUT, inputs, path)
        assert found == game.input, "disputes: not an input of the order"


@external
def timeout(order: bytes32):
    """
    @notice End a dispute whose next move has not come in time. Anybody may do this.
    """
    game: Game = self.games[order]
    assert game.turn != OVER, "disputes: there is none"
    assert block.timestamp > game.deadline, "disputes: there is still time"
    guilty: address = game.challenger
    if game.turn in [BEGIN, SHOW, LEAF]:
        guilty = game.accused
    self._close(order, guilty, False)


@internal
@view
def _check(order: bytes32, turn: uint256):
    """
    @notice The sender must be the one who may make this move now.
    """
    game: Game = self.games[order]
    assert game.turn == turn, "disputes: not this move now"
    mover: address = game.challenger
    if turn in [BEGIN, SHOW, LEAF]:
        mover = game.accused
    assert msg.sender == mover, "disputes: the move is the other's"
    assert block.timestamp <= game.deadline, "disputes: too late"


@internal
def _pass(order: bytes32, turn: uint256):
    """
    @notice The next move is `turn`.
    """
    deadline: uint256 = block.timestamp + MOVE_TIME
    self.games[order].turn = turn
    self.games[order].deadline = deadline
    self.games[order].moves += 1
    log Moved(order=order, turn=turn, deadline=deadline)


@internal
def _close(order: bytes32, guilty: address, proven: bool):
    moves: uint256 = self.games[order].moves
    self.games[order] = empty(Game)
    log Closed(order=order, guilty=guilty, proven=proven, moves=moves)
    extcall market.resolve(order, guilty, proven)


@internal
@pure
def _description(layer: elements.Layer) -> bytes32:
    """
    @notice Hash of the leaf of a layer in the model.
    """
    return sha256(concat(b"\x00", abi_encode(layer)))
