"""A synthetic corpus of English product and film reviews, made from a grammar and a seed.

It is for trying the pipeline offline. It is not a benchmark: no result on it says anything about real reviews.
It is nevertheless a task that has to be learned:
- Each word of sentiment occurs with both labels, since it is stated, negated, conceded before a "but", or quoted from
  somebody with whom the reviewer agrees or disagrees. Counting words is not enough.
- Each split has words of sentiment that no other split has, so that knowledge from pretraining helps.
- A few labels are wrong, as in real data, so that no model reaches 100 %.
"""

import random
import re

LABELS = ["negative", "positive"]
ROWS = {"train": 4000, "validation": 500, "test": 1000}
WORDS = (10, 80)  # of the shortest and the longest review
WRONG_LABELS = 0.02  # share of rows
UNSEEN_WORDS = 0.4  # how often a word of a validation or test review is one that train does not have

ADJECTIVES = {
    "positive": """superb delightful brilliant charming excellent impressive wonderful elegant clever gripping fresh
        refreshing lovely outstanding splendid graceful solid reliable enjoyable memorable inventive satisfying
        thoughtful polished moving hilarious fantastic magnificent engaging stunning witty sturdy comfortable
        convincing remarkable generous marvellous terrific captivating dazzling exquisite sublime flawless
        masterful radiant enchanting riveting rewarding beautiful vivid amazing crisp intelligent adorable
        uplifting seamless heartfelt luminous triumphant admirable""",
    "negative": """dull awful terrible dreadful boring clumsy cheap flimsy tedious annoying disappointing lazy
        predictable shallow sloppy poor mediocre ugly noisy confusing bland horrible pointless unreliable
        frustrating lifeless ridiculous stale weak pretentious painful incoherent unbearable shoddy uninspired
        dreary abysmal atrocious insufferable tacky wretched feeble grating tiresome forgettable appalling
        muddled hollow cringeworthy useless dismal laughable excruciating monotonous lousy pathetic irritating
        grim fragile lamentable""",
}
NOUNS = {
    "positive": "gem triumph joy masterpiece treat delight bargain pleasure marvel winner treasure revelation",
    "negative": "mess disaster letdown nuisance failure chore insult headache fiasco dud nightmare catastrophe",
}
ADVERBS = {
    "positive": "beautifully carefully skilfully lovingly cleverly superbly gracefully brilliantly elegantly expertly",
    "negative": "clumsily carelessly poorly lazily badly awkwardly sloppily hastily shoddily ineptly",
}
# Actions that imply a sentiment; none of their words expresses one by itself.
ACTIONS = {
    "positive": [
        "I have already ordered a second one for my mother",
        "I stayed up until two because of it",
        "I told everyone at work to get it",
        "I would pay twice the price for it",
        "it has not left my side since",
        "I went back the very next day",
        "I could have gone on for another hour",
        "my whole family wants one now",
        "I gave it the best place in the house",
        "I keep coming back to it",
        "we stood up and clapped",
        "I have cleared my shelf of everything else",
        "it made my week",
        "I caught myself smiling all the way home",
    ],
    "negative": [
        "I asked for my money back",
        "I looked at my watch every five minutes",
        "it went straight into the bin",
        "I sent it back after two days",
        "we left before the end",
        "I would not take it as a gift",
        "it has been in a drawer ever since",
        "half of the row fell asleep",
        "I wish I had those hours back",
        "I warned everyone at work",
        "I will never order from them again",
        "my patience ran out long before",
        "it ruined my week",
        "I caught myself counting the minutes",
    ],
}
ASPECTS = {
    "product": "battery|display|keyboard|hinge|sound|packaging|software|strap|zip|lens|charger|handle|manual|design|"
    "service|motor|finish|remote|stitching|camera".split("|"),
    "film": "plot|script|acting|soundtrack|ending|dialogue|camera work|pacing|lead actor|cast|editing|humour|"
    "first half|villain|direction|lighting|opening scene|story|narration|costume design".split("|"),
}
THINGS = {
    "product": "lamp|kettle|backpack|headset|blender|watch|tent|radio|toaster|printer|tablet|jacket|drill|pair of "
    "boots|speaker|vacuum cleaner|desk|phone|mixer|camera".split("|"),
    "film": "film|movie|documentary|comedy|thriller|drama|western|sequel|remake|short film|romance|musical|"
    "mystery|biopic|series|costume drama|cartoon|road movie|satire|horror film".split("|"),
}
FILLER = {
    "product": [
        "I bought it in {month}",
        "it came in a brown box",
        "I use it about twice a week",
        "mine is the {colour} one",
        "delivery took {number} days",
        "it weighs about as much as a book",
        "I paid the usual price",
        "the one before it lasted {number} years",
        "it stands in the kitchen",
        "the cable is {number} feet long",
    ],
    "film": [
        "I saw it in {month}",
        "it runs for about two hours",
        "it is set by the sea",
        "there were {number} of us",
        "we watched it at home",
        "it was filmed in the north",
        "I had read the book before",
        "the cinema was half full",
        "it opens in a {colour} house",
        "it comes in {number} parts",
    ],
}
SLOTS = {
    "person": "my brother|my neighbour|my colleague|my sister|the man in the shop|my friend|my father".split("|"),
    "very": ["", "", "", "very ", "truly ", "really ", "quite ", "remarkably ", "thoroughly "],
    "month": "January|March|May|June|August|October|November|December".split("|"),
    "colour": "black|white|grey|green|blue|red|brown|silver".split("|"),
    "number": "four|six|seven|eight|nine".split("|"),
}

# Sentences with words of the review's label (pro) and of the other one (con). Each line has a statement, and one of the
# same meaning with a negated word of the other label, so that the words around them tell little about the label.
OPINIONS = [
    ("the {aspect} is {very}{pro}", "the {aspect} is not in the least {con}"),
    ("I found the {aspect} {very}{pro}", "I did not find the {aspect} {con}"),
    ("the {aspect} was {pro} throughout", "the {aspect} was never {con}"),
    ("it is a {pro_noun} of a {thing}", "it is anything but a {con_noun}"),
    ("the {aspect} is {pro_adverb} done", "the {aspect} is far from {con_adverb} done"),
    ("the {aspect} is every bit as {pro} as I had been told", "the {aspect} is not nearly as {con} as I had been told"),
    ("it is exactly as {pro} as everyone says", "it is nowhere near as {con} as everyone says"),
    ("{person} called it {pro} and I could not agree more", "{person} called it {con} and I could not disagree more"),
    ("{person} said the {aspect} was {pro}, which is true", "{person} said the {aspect} was {con}, which is untrue"),
    ('the verdict in our house was "{pro}", and rightly so', 'the verdict in our house was "{con}", and wrongly so'),
    (
        "the {aspect} may be {con}, but the {aspect} is {very}{pro}",
        "the {aspect} may be {con}, but the {aspect} is not",
    ),
    ("it is {con_adverb} made, yet it is a {pro_noun}", "though the {aspect} is {pro}, nothing here is {con}"),
    (
        "although the {aspect} is {con}, on the whole I call it {pro}",
        "one expects something {con}, and gets the reverse",
    ),
]
WEIGHTS = (3, 1)  # how often the first sentence of a line is used, and how often the second
LEXICON = {"": ADJECTIVES, "_noun": NOUNS, "_adverb": ADVERBS}


def make_reviews(split: str, seed: int) -> list[tuple[str, str]]:
    """`ROWS[split]` different (text, label) pairs; the same for the same split and seed on any machine."""
    rng = random.Random(f"{split} {seed}")
    reviews: dict[str, str] = {}
    while len(reviews) < ROWS[split]:
        label = LABELS[len(reviews) % 2]
        text = make_review(rng, split, label)
        if text not in reviews and WORDS[0] <= len(text.split()) <= WORDS[1]:
            reviews[text] = label if rng.random() >= WRONG_LABELS else opposite(label)
    pairs = list(reviews.items())
    rng.shuffle(pairs)
    return pairs


def make_review(rng: random.Random, split: str, label: str) -> str:
    """One review: opinions and sometimes an action that express the label, among sentences that express nothing."""
    kind = rng.choice(sorted(THINGS))
    templates = [rng.choices(pair, WEIGHTS)[0] for pair in rng.sample(OPINIONS, rng.choice([1, 2, 2, 3]))]
    if rng.random() < 0.4:
        templates.append(rng.choice(select_words(ACTIONS[label], split, rng)))
    templates += rng.sample(FILLER[kind], rng.choice([1, 1, 2]))
    rng.shuffle(templates)
    sentences = [fill_template(rng, template, split, label, kind) for template in templates]
    return " ".join(sentence[0].upper() + sentence[1:] + "." for sentence in sentences)


def fill_template(rng: random.Random, template: str, split: str, label: str, kind: str) -> str:
    """Replace the slots of a template, such as `{pro}`, by words."""
    text = template
    for slot in re.findall(r"{(\w+)}", template):
        if slot[:3] in ("pro", "con"):
            words = LEXICON[slot[3:]][label if slot.startswith("pro") else opposite(label)].split()
            word = rng.choice(select_words(words, split, rng))
        else:
            words = {"aspect": ASPECTS[kind], "thing": THINGS[kind], **SLOTS}[slot]
            word = rng.choice([word for word in words if not word or word not in text])
        text = text.replace("{" + slot + "}", word, 1)
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)


def select_words(words: list[str], split: str, rng: random.Random) -> list[str]:
    """The words to choose from: the half that all splits share, or at times the quarter that only this split has."""
    unseen = {"validation": words[2::4], "test": words[3::4]}.get(split)
    return unseen if unseen and rng.random() < UNSEEN_WORDS else words[0::4] + words[1::4]


def opposite(label: str) -> str:
    return LABELS[1 - LABELS.index(label)]
