"""A digest as eight words, for two people to compare on the telephone or by eye."""

# From the English list of BIP-39 (MIT licence), whose words differ in their first four letters: short ones
# that are fit to be read out in a hospital.
_WORDS = tuple(
    """
    able about above absent absorb absurd access across action actor actual adapt adjust admit advice
    affair afford again agent agree ahead aisle alarm album alert alien alley almost alone alpha also
    alter always among amount amused anchor angle animal ankle answer apart appear apple april arch
    arctic area arena armed armor around arrive artist aspect asset assist assume atom attend audit
    august aunt author autumn avoid awake aware away awful axis bacon badge ball bamboo banana banner
    barely barrel base basic basket battle beach bean beauty become before begin behave behind below
    belt bench best betray better beyond bike bind bird birth blade blouse blue blush board boat boil
    bonus book boost border boring borrow boss bottom bounce brand brass brave bread breeze brick bridge
    brief bright bring brisk bronze broom brown brush bubble buddy budget build bulb bulk bundle bunker
    burden burger busy butter buyer buzz cabin cable cactus cage cake call calm camera camp canal candy
    cannon canoe canvas canyon carbon card cargo carpet carry cart case cash casino castle casual catch
    cattle caught cause cave celery cement census cereal chair chalk change chaos charge chase chat
    cheap check cheese chef cherry chest chief choice choose chunk churn cigar circle city civil claim
    clap clay clean clerk clever click client cliff climb clip clock close cloth cloud clown club clump
    clutch coach coast code coffee coil coin color column come comic common cook cool copper copy coral
    core corn cost cotton couch couple course cousin cover coyote crack cradle craft cram crane crater
    crawl crazy cream credit creek crew crisp critic crop cross crouch crowd cruise crunch cube curve
    custom cute cycle damp dance daring dash dawn deal debate decade decide deer define defy degree
    delay demand demise depart depend depth deputy derive desert design desk detail detect device dial
    diary dice diesel diet differ dinner direct dish divert divide domain donate donkey donor door
    double dove draft dragon drama draw dream dress drift drill drink drip drive drop drum duck dune
    during dutch duty dwarf eager eagle early earn earth easily east easy echo edge edit effort eight
    either elbow elite else embark embody emerge employ empty enable enact energy engage engine enjoy
    enlist enough enrich enroll ensure enter entire entry equal equip erase essay estate ethics evolve
    exact excess excite excuse exist exit exotic expand expect extend extra fabric fade faith fall fame
    family famous fancy farm father feed feel female fence fetch field figure file film final find fine
    firm first fish flag flash flat flee flip float flock floor fluid flush foam focus fold food foot
    force fork forum found frame fresh frog front frost frown fruit fuel funny fury gain game gate gauge
    gaze genre giant gift give glad glare glass glide globe gloom glory glow glue goat gold good goose
    gown grab grace grain grant grape grass great green grid grit group grow grunt guess guide habit
    hair half hand happy hard have hawk heavy hello help hero high hill hint hire hobby hold hole home
    honey hood hope horn horse host hotel hour hover huge human humor hurry icon idea image inch index
    inner input into iron item ivory jazz jeans jelly jewel join joke judge juice jump just keen keep
    kick kind kiss kite kiwi knee knock know label labor lady lake lamp large later latin laugh lava
    lawn layer leaf learn left legal lemon lend lens level life lift light like limb limit link lion
    list live load local lock logic long loop loud love loyal lucky lunar lunch magic maid mail main
    major make mango maple march mask mass match math maze mean meat media melt menu merge merry mesh
    metal milk mimic mind minor miss mixed model month moon moral more motor mouse move movie much mule
    music must myth naive name near need nest news next nice night noble noise north nose note novel
    occur ocean offer often okay olive omit once onion only open opera orbit order other outer oval oven
    over owner ozone pact page pair palm panda panel paper park party pass patch path pause pave peace
    pear phone photo piano piece pilot pink pipe pitch pizza place plate play pluck plug poem poet point
    polar pole pond pony pool post power price pride print prize proof proud pull pulp pupil puppy purse
    push quick quit quiz quote rack radar radio rail rain raise rally ramp ranch range rapid rare rate
    raven razor ready real relax rely rent rice rich ride ridge right rigid ring riot river road roast
    roof room rose rough round route royal rule rural safe sail salad salon salt same sand sauce save
    scale scan scare scene scout scrap scrub seat seed seek sell sense setup seven shaft share shed
    shell shift shine ship shoe shop short shrug side siege sight sign silk silly since sing siren size
    skate skill skirt slab slam sleep slice slide slush small smart smile smoke snack snake snap snow
    soap soda soft solar solid solve song soon sort soul sound soup south space spare spawn speak speed
    spell spend spice spin split spoon sport spot spray staff stage stamp stand start state stay steak
    steel stem step stick still stock stone stool story stove stuff style such sugar suit sunny super
    sure surge swamp swap swarm sweet swift swim swing sword syrup table tail talk tape task taste taxi
    teach team tell tent term test text thank that theme then there they thing this three throw thumb
    tide tiger tilt time tiny title toast today token tone tool topic torch toss total tower town track
    trade train tray treat tree trend trial tribe trim trip truck true truly trust truth tube tuna turn
    twice twin twist type under unit until upon upper urban usage used usual vague valid valve vapor
    vast vault venue verb very video view visa visit vital vivid vocal voice wage wagon wait walk wall
    want warm wash wasp water wave wear west whale what wheat wheel when where whip wide width wild will
    wine wing wink wire wise wish wood wool word work world wrap write yard year young youth zebra zero
    zone
    """.split()  # noqa: SIM905
)
_BITS, _NUMBER = 10, 8
DIGITS = _BITS * _NUMBER // 4
"""Hexadecimal digits of a digest that its phrase stands for: as many as a decision asks for at least."""


def phrase(digest: str) -> str:
    """Return the words of a digest: two digests with the same words can't be made to order.

    Args:
        digest: In hexadecimal, of 20 digits or more; 10 bits make a word.
    """
    bits = int(digest[:DIGITS], 16)
    places = (bits >> _BITS * (_NUMBER - 1 - word) for word in range(_NUMBER))
    return " ".join(_WORDS[place & (1 << _BITS) - 1] for place in places)
