"""The words that may stand in an error that leaves a site: English grammar and the vocabulary of the trade.

No names, no words that are also common family names, and no words that alone say something of a patient.
"""

PLAIN_WORDS = frozenset(
    """
    a about above across add added admits after again against aggregation all allocate allocated
    allocating allocation allow allowed allows already also although among an and another any appear
    approval approve are argument arguments array arrays as ask asked asks assert assertion at attempt
    attempted attribute authority available axis b bad base batch batched be because been before being
    belong belongs below between beyond big body both bound bounds broken buffer buffers but by bytes
    call called calling can can't cancelled cannot capacity certificate certificates chain change
    changed channel channels characters check checked choose class classes clear client clock close
    closed coefficient column columns compute computed configuration connect connected connection
    consider contain contained contains contiguous conv1d conv2d conv3d convert converted coordinator
    core cores corrupt corrupted could couldn't count counts cpu crash crashed create created cublas
    cuda cudnn current currently cut data dataset deadline decode decoded decoder decoding decompress
    default defined denied depth detected device devices did didn't differ difference different differs
    dimension dimensional dimensionality dimensions directory disk divide divided divisible division do
    does doesn't don't double down driver dropped dtype due during each either element elements else
    empty encode encoding end ended enough entries entry environment epoch equal errno error errors
    evaluate evaluation every exactly example examples exceed exceeded exceeds except exception
    exhausted exist exists expect expected expecting expects expired failed failing fails failure false
    features federation few fewer file files find finite first fit fits float float16 float32 float64
    folder for forbidden format forward found fp16 free from full function future gap get give given
    gives global got gpu gpus gradient gradients greater group groups had half handle handshake has
    hasn't have header headers height here hospital host how however identify identity if illegal image
    images implement implemented import in include included including incompatible incomplete
    inconsistent incorrect index indices infinite infinity inner input inputs inside instead int int16
    int32 int64 integer internal interrupted into invalid invitation invited io is isn't issuer it item
    items its itself job joined kernel kernels key key's keys kind known label labels lacks large larger
    largest last launch layer layers layout least left length less library like limit line list load
    loaded loading local lock log login long longer loss lost low lower made make makes malformed
    manifest many map mask masks mat1 mat2 match matches matching matrix maximum may mean member memory
    message metadata method metric metrics minimum mismatch missing mode model module more most
    multiplied multiply must name named names nan need needed needs negative nested network never new
    next no non none nonzero normal not nothing now null number numbers object of off on once one ones
    only opaque open opened operation operator optimizer option or order other out output outputs
    outside over overflow own parameter parameters parse parsed part parts path patient patients peer
    peers per permission permitted pinned pixel pixels policy positive possible precision present
    process processes protocol provided public purpose quota raise raised raises range rank reached read
    reading ready reason received recognised recognized refused remain remaining remains remove removed
    reply request requested require required requires reserved reset resource resources restarted result
    return returned returns revoked right root roster round rounds row rows run running runtime same
    sample samples scalar second seconds secret secure see seed segmentation self sender sense sent
    sequence server set several shape shapes shares sharing should shown shut side sign signal signature
    signatures signed signs simple single singleton site site's sites size sizes slice slices slow small
    smaller smallest so some something space spacing split splits stage start started state states step
    stop stopped storage stored string such sum summed sums support supported supports survivors swapped
    syntax system target targets task temporarily temporary tensor tensors terminated test text than
    that the their them then there these they third this those thread threads three through time timed
    timeout times to together token too total train training transfer transform tried tries true
    truncated try trying twice two type types uint8 unable unavailable unbatched undefined under
    unexpected unexpectedly unhandled unit unknown unless unpack unreachable unrecognised unrecognized
    unsuitable unsupported until up update updates upper use used uses using valid validation value
    values variable vector verified verify version volume volumes voxel voxels wait waiting waits want
    was wasn't way weight weights were what when where whether which while whose width with withdrawn
    within without won't work worker workers working would write writing written wrong yet zero zeros
    """.split()  # noqa: SIM905 (one word per line would be five hundred lines)
)
