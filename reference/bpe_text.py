"""The text that `bpe.json` is trained on, and the strings it encodes. Repetitive enough that every merge
occurs at least twice: trainers with a minimum frequency of 2 agree."""

VOCAB_SIZE = 340

_STORY = """Once upon a time there was a small robot who wanted to learn how to bake bread.
It couldn't taste, but it could count: 12 eggs, 250 grams of flour, 3 spoons of sugar.
"Don't worry," said the baker, "I'll show you. We've all burnt a loaf; they're cheap."
The robot's first loaf was as hard as stone. The second loaf was soft, and the third was good.
"""

_LETTER = """Dear friend,

\tthe café near the station is open again. The coffee costs 2.50, the cake 3.75.
I'm told that the owner learned baking from a robot; isn't that a story?
   Write soon  --  and don't forget the recipe!
"""

_OTHER = """naïve café façade über straße — “quoted” … 東京 東京 東京都 こんにちは こんにちは 🙂🙂 🍞🍞
привет привет мир мир 100 1000 10000 aaaa aaaa aaaaaaaa === === ------
"""

DOCUMENTS = [_STORY, _LETTER, _OTHER, _STORY.upper(), "", _LETTER.replace("\n", "\r\n"), _OTHER * 2, "x = 1\n" * 4]

HOSTILE = [
    "",
    " ",
    "  ",
    "   a",
    "a   ",
    "a   b    c",
    "\n\n\n",
    " \n \t \r\n x",
    "the robot couldn't bake",
    "I'm you're he's we've they'll she'd can't",
    "I'M YOU'RE HE'S WE'VE",
    "'s't're've'm'll'd",
    "don’t",
    "12 345 6789 ½ ٣٤ Ⅷ x² 1e-5",
    "aaaaaaaaaaaaaaaaa",
    "!!!???...,,,;;;---___===",
    "<|endoftext|>",
    "a<|endoftext|>b <|endoftext|>",
    "東京都へ行きました。こんにちは、世界！",
    "한국어 텍스트",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
    "e\u0301 o\u0308 a\u030a\u0323 n\u0303",
    "\u0301 leading mark",
    "👩\u200d👩\u200d👧\u200d👦 🙂🏽 🇯🇵 🍞",
    "no\u00a0break\u00a0\u00a0space \u00a0 x",
    "\u2003em \u3000ideographic\u3000\u3000space \u2028line\u2029paragraph \u0085next",
    "zero\u200bwidth \ufeffbom \u2060joiner soft\u00adhyphen",
    "\x00\x01\x02 \x07\x08 \x0b\x0c \x1b[31m \x7f \x80\x9f",
    "𝐀𝐁𝐂 𝟏𝟐𝟑 𐍈 🂡 \U0010ffff \ufffd \ue000",
    "tab\tseparated\tvalues\r\nline\rreturn",
    "    def f(x):\n        return x ** 2  # two\n",
    "https://example.org/a?b=c&d=%20#e",
    "Straße STRASSE ſ ﬁ Ǆ ǅ ǆ İ ı",
    "x" * 70 + " " * 70 + "y",
]
