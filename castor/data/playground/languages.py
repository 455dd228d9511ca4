"""The words: English, German, French, Spanish, Chinese and Swahili as Tongues.

Answers are plain: a colour is answered with its citation form, a count with digits.
"""

from castor.data.playground.ink import PALETTE, SHAPES
from castor.data.playground.tongues import Noun, Tongue

_PLACES = (
    "left",
    "right",
    "top",
    "bottom",
    "middle",
    "top left",
    "top right",
    "bottom left",
    "bottom right",
    "corners",
)


def _words(names: tuple[str, ...], words: str) -> dict[str, str]:
    return dict(zip(names, words.split("|"), strict=True))


def _nouns(words: str) -> dict[str, Noun]:
    """Nouns in the order of SHAPES, each "one many kind"."""
    nouns = [Noun(*entry.split()) for entry in words.split("|")]
    return dict(zip(SHAPES, nouns, strict=True))


def _numbers(words: str) -> tuple[str, ...]:
    return tuple(words.split())


def _colours(words: str) -> dict[str, str]:
    return _words(tuple(PALETTE), words)


def _english_colours() -> dict[str, dict[str, str]]:
    articles = {name: "an" if name[0] in "aeiou" else "a" for name in PALETTE}
    return {name: {"": name, "a": f"{articles[name]} {name}"} for name in PALETTE}


ENGLISH = Tongue(
    name="English",
    shapes={name: Noun(name, "crosses" if name == "cross" else f"{name}s") for name in SHAPES},
    colours=_english_colours(),
    places=_words(
        _PLACES,
        "on the left|on the right|at the top|at the bottom|in the middle|at the top left|"
        "at the top right|at the bottom left|at the bottom right|in the corners",
    ),
    templates={
        "a": ("{adj} {noun}",),
        "a_plain": ("a {noun}",),
        "the": ("the {adj} {noun}",),
        "many": ("{number} {adj} {noun}",),
        "some": ("{adj} {noun}",),
        "group": ("{what} {where}",),
        "join": (", ", " and "),
        "colour": (
            "What color is {the}?",
            "What is the color of {the}?",
            "Tell me the color of {the}.",
        ),
        "shape": (
            "What shape is {colour}?",
            "Which shape is {colour}?",
            "Name the {colour} shape.",
        ),
        "count": ("How many {many} are there?", "Count the {many}.", "How many {many} do you see?"),
        "exists": ("Is there {a}?", "Is there {a} in the picture?", "Do you see {a}?"),
        "where": ("Where is {the}?", "In which part of the picture is {the}?"),
        "draw": (
            "Draw {scene}.",
            "Please draw {scene}.",
            "Make a picture of {scene}.",
            "Draw a picture with {scene}.",
        ),
        "see": ("Describe the picture.", "What do you see?", "What is in the picture?"),
        "story": ("Draw and name {scene}.", "Show and name {scene}."),
        "then": (", then ",),
        "stop": (".",),
        "plus": ("What is {a} plus {b}?", "{a} + {b} =", "How much is {a} plus {b}?"),
        "minus": ("What is {a} minus {b}?", "{a} - {b} =", "How much is {a} minus {b}?"),
        "times": ("What is {a} times {b}?", "{a} × {b} =", "How much is {a} times {b}?"),
        "word": ("Write {n} in words.", "How do you write {n} in words?"),
    },
    numbers=_numbers("zero one two three four five six seven eight nine ten eleven twelve"),
)


def _german_colours() -> dict[str, dict[str, str]]:
    plain = _colours("rot|orange|gelb|grün|türkis|blau|violett|rosa|braun|grau|schwarz")
    endings = {"a.m": "en", "a.n": "es", "a.f": "e", "the": "e", "many": "e"}
    forms = {}
    for name, word in plain.items():
        stem = {"orange": "orangefarben", "türkis": "türkisfarben"}.get(word, word)
        bends = {} if word == "rosa" else {form: stem + end for form, end in endings.items()}
        forms[name] = {"": word} | bends
    return forms


GERMAN = Tongue(
    name="Deutsch",
    shapes=_nouns(
        "Kreis Kreise m|Quadrat Quadrate n|Dreieck Dreiecke n|Stern Sterne m|Herz Herzen n|"
        "Kreuz Kreuze n|Raute Rauten f|Ring Ringe m|Rechteck Rechtecke n|Mond Monde m"
    ),
    colours=_german_colours(),
    places=_words(
        _PLACES,
        "links|rechts|oben|unten|in der Mitte|oben links|oben rechts|unten links|unten rechts|"
        "in den Ecken",
    ),
    templates={
        "a.m": ("einen {adj} {noun}",),
        "a.n": ("ein {adj} {noun}",),
        "a.f": ("eine {adj} {noun}",),
        "the.m": ("der {adj} {noun}",),
        "the.n": ("das {adj} {noun}",),
        "the.f": ("die {adj} {noun}",),
        "many": ("{number} {adj} {noun}",),
        "some": ("{adj} {noun}",),
        "group": ("{what} {where}",),
        "join": (", ", " und "),
        "colour": ("Welche Farbe hat {the}?",),
        "shape": ("Welche Form ist {colour}?",),
        "count": ("Wie viele {many} gibt es?", "Wie viele {many} siehst du?"),
        "exists": ("Gibt es {a}?", "Siehst du {a}?"),
        "where": ("Wo ist {the}?",),
        "draw": ("Zeichne {scene}.", "Bitte zeichne {scene}."),
        "see": ("Was siehst du?",),
        "story": ("Zeichne und benenne {scene}.",),
        "then": (", dann ",),
        "stop": (".",),
        "plus": ("Was ist {a} plus {b}?", "Wie viel ist {a} plus {b}?"),
        "minus": ("Was ist {a} minus {b}?", "Wie viel ist {a} minus {b}?"),
        "times": ("Was ist {a} mal {b}?", "Wie viel ist {a} mal {b}?"),
        "word": ("Schreibe {n} als Wort.",),
    },
    numbers=_numbers("null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf"),
    yes="ja",
    no="nein",
)


def _romance_colours(words: str, *, shape: str) -> dict[str, dict[str, str]]:
    """Each "m f mp fp", or one word for all four; `shape` is the kind of the word "shape"."""
    forms = {}
    for name, entry in _colours(words).items():
        m, f, mp, fp = (entry.split() * 4)[:4]
        by_kind = {"m": m, "mv": m, "f": f, "fv": f}
        plural = {"many.m": mp, "many.mv": mp, "many.f": fp, "many.fv": fp}
        forms[name] = {"": m, "shape": by_kind[shape]} | by_kind | plural
    return forms


FRENCH = Tongue(
    name="français",
    shapes=_nouns(
        "cercle cercles m|carré carrés m|triangle triangles m|étoile étoiles fv|cœur cœurs m|"
        "croix croix f|losange losanges m|anneau anneaux mv|rectangle rectangles m|lune lunes f"
    ),
    colours=_romance_colours(
        "rouge rouge rouges rouges|orange|jaune jaune jaunes jaunes|vert verte verts vertes|"
        "turquoise|bleu bleue bleus bleues|violet violette violets violettes|"
        "rose rose roses roses|marron|gris grise gris grises|noir noire noirs noires",
        shape="f",
    ),
    places=_words(
        _PLACES,
        "à gauche|à droite|en haut|en bas|au milieu|en haut à gauche|en haut à droite|"
        "en bas à gauche|en bas à droite|dans les coins",
    ),
    templates={
        "a.m": ("un {noun} {adj}",),
        "a.mv": ("un {noun} {adj}",),
        "a": ("une {noun} {adj}",),
        "the.m": ("le {noun} {adj}",),
        "the.f": ("la {noun} {adj}",),
        "the": ("l'{noun} {adj}",),
        "many": ("{number} {noun} {adj}",),
        "some": ("{noun} {adj}",),
        "group": ("{what} {where}",),
        "join": (", ", " et "),
        "colour": ("De quelle couleur est {the} ?", "Quelle couleur a {the} ?"),
        "shape": ("Quelle forme est {colour} ?",),
        "count.m": ("Combien de {many} y a-t-il ?",),
        "count.f": ("Combien de {many} y a-t-il ?",),
        "count": ("Combien d'{many} y a-t-il ?",),
        "exists": ("Y a-t-il {a} ?", "Vois-tu {a} ?"),
        "where": ("Où est {the} ?", "Où se trouve {the} ?"),
        "draw": ("Dessine {scene}.", "Peux-tu dessiner {scene} ?"),
        "see": ("Que vois-tu ?",),
        "story": ("Dessine et nomme {scene}.",),
        "then": (", puis ",),
        "stop": (".",),
        "plus": ("Combien font {a} plus {b} ?",),
        "minus": ("Combien font {a} moins {b} ?",),
        "times": ("Combien font {a} fois {b} ?",),
        "word": ("Écris {n} en lettres.",),
    },
    numbers=_numbers("zéro un deux trois quatre cinq six sept huit neuf dix onze douze"),
    yes="oui",
    no="non",
)


SPANISH = Tongue(
    name="español",
    shapes=_nouns(
        "círculo círculos m|cuadrado cuadrados m|triángulo triángulos m|estrella estrellas f|"
        "corazón corazones m|cruz cruces f|rombo rombos m|anillo anillos m|"
        "rectángulo rectángulos m|luna lunas f"
    ),
    colours=_romance_colours(
        "rojo roja rojos rojas|naranja|amarillo amarilla amarillos amarillas|"
        "verde verde verdes verdes|turquesa|azul azul azules azules|"
        "morado morada morados moradas|rosa|marrón marrón marrones marrones|"
        "gris gris grises grises|negro negra negros negras",
        shape="f",
    ),
    places=_words(
        _PLACES,
        "a la izquierda|a la derecha|arriba|abajo|en el centro|arriba a la izquierda|"
        "arriba a la derecha|abajo a la izquierda|abajo a la derecha|en las esquinas",
    ),
    templates={
        "a.m": ("un {noun} {adj}",),
        "a.f": ("una {noun} {adj}",),
        "the.m": ("el {noun} {adj}",),
        "the.f": ("la {noun} {adj}",),
        "many": ("{number} {noun} {adj}",),
        "some": ("{noun} {adj}",),
        "group": ("{what} {where}",),
        "join": (", ", " y "),
        "colour": ("¿De qué color es {the}?", "¿Qué color tiene {the}?"),
        "shape": ("¿Qué figura es {colour}?",),
        "count.m": ("¿Cuántos {many} hay?",),
        "count.f": ("¿Cuántas {many} hay?",),
        "exists": ("¿Hay {a}?", "¿Ves {a}?"),
        "where": ("¿Dónde está {the}?",),
        "draw": ("Dibuja {scene}.", "Por favor, dibuja {scene}."),
        "see": ("¿Qué ves?",),
        "story": ("Dibuja y nombra {scene}.",),
        "then": (", luego ",),
        "stop": (".",),
        "plus": ("¿Cuánto es {a} más {b}?",),
        "minus": ("¿Cuánto es {a} menos {b}?",),
        "times": ("¿Cuánto es {a} por {b}?",),
        "word": ("Escribe {n} con letras.",),
    },
    numbers=_numbers("cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce"),
    yes="sí",
    no="no",
)


def _chinese_colours() -> dict[str, dict[str, str]]:
    plain = _colours("红色|橙色|黄色|绿色|青色|蓝色|紫色|粉色|棕色|灰色|黑色")
    return {
        name: {"": word} | dict.fromkeys(("a", "the", "many", "shape"), f"{word}的")
        for name, word in plain.items()
    }


CHINESE = Tongue(
    name="中文",
    shapes={
        name: Noun(word, word)
        for name, word in _words(
            SHAPES, "圆形|正方形|三角形|星形|心形|十字形|菱形|圆环|长方形|月亮"
        ).items()
    },
    colours=_chinese_colours(),
    places=_words(_PLACES, "左边|右边|上边|下边|中间|左上角|右上角|左下角|右下角|四个角"),
    templates={
        "a": ("一个{adj}{noun}",),
        "the": ("{adj}{noun}",),
        "many": ("{number}个{adj}{noun}",),
        "some": ("{adj}{noun}",),
        "group": ("{where}{what}",),
        "join": ("，", "，"),
        "colour": ("{the}是什么颜色？", "{the}是什么颜色的？"),
        "shape": ("{colour}是什么形状？",),
        "count": ("图中有几个{many}？", "有多少个{many}？"),
        "exists": ("图中有{many}吗？", "有没有{many}？"),
        "where": ("{the}在哪里？", "{the}在什么位置？"),
        "draw": ("请画：{scene}。", "画一张图：{scene}。"),
        "see": ("你看到了什么？",),
        "story": ("请依次画出并说明：{scene}。",),
        "then": ("；然后",),
        "stop": ("。",),
        "plus": ("{a}加{b}等于几？", "{a}加{b}是多少？"),
        "minus": ("{a}减{b}等于几？", "{a}减{b}是多少？"),
        "times": ("{a}乘{b}等于几？", "{a}乘{b}是多少？"),
        "word": ("用汉字写{n}。",),
    },
    numbers=_numbers("零 一 二 三 四 五 六 七 八 九 十 十一 十二"),
    yes="有",
    no="没有",
    counts={"2": "两"},
)


def _swahili_colours() -> dict[str, dict[str, str]]:
    """Two colours bend by noun class (3/4, 5/6, 9/10); the others follow "of": wa, la, ya, za."""
    forms = {}
    plain = _colours(
        "-ekundu|machungwa|njano|kijani|feruzi|bluu|zambarau|waridi|kahawia|kijivu|-eusi"
    )
    for name, word in plain.items():
        if word.startswith("-"):
            one, many, short = ("mw", "j", "ny"), ("my", "m", "ny"), word[1:]
        else:
            one, many, short = ("wa ", "la ", "ya "), ("ya ", "ya ", "za "), word
        singular = {kind: start + short for kind, start in zip("359", one, strict=True)}
        plural = {f"many.{kind}": start + short for kind, start in zip("359", many, strict=True)}
        citation = singular["9"] if word.startswith("-") else word
        forms[name] = {"": citation, "shape": singular["5"]} | singular | plural
    return forms


SWAHILI = Tongue(
    name="Kiswahili",
    shapes=_nouns(
        "duara maduara 5|mraba miraba 3|pembetatu pembetatu 9|nyota nyota 9|moyo mioyo 3|"
        "msalaba misalaba 3|almasi almasi 9|pete pete 9|mstatili mistatili 3|mwezi miezi 3"
    ),
    colours=_swahili_colours(),
    places=_words(
        _PLACES,
        "kushoto|kulia|juu|chini|katikati|juu kushoto|juu kulia|chini kushoto|chini kulia|"
        "kwenye pembe",
    ),
    templates={
        "a": ("{noun} {adj}",),
        "the": ("{noun} {adj}",),
        "many": ("{noun} {number} {adj}",),
        "some": ("{noun} {adj}",),
        "group": ("{what} {where}",),
        "join": (", ", " na "),
        "colour.3": ("{the} una rangi gani?",),
        "colour.5": ("{the} lina rangi gani?",),
        "colour.9": ("{the} ina rangi gani?",),
        "shape": ("Umbo lipi ni {colour}?",),
        "count.3": ("Kuna {plural} mingapi{tail}?",),
        "count.5": ("Kuna {plural} mangapi{tail}?",),
        "count.9": ("Kuna {plural} ngapi{tail}?",),
        "exists": ("Je, kuna {a}?", "Je, unaona {a}?"),
        "where.3": ("{the} uko wapi?",),
        "where.5": ("{the} liko wapi?",),
        "where.9": ("{the} iko wapi?",),
        "draw": ("Chora {scene}.", "Tafadhali chora {scene}."),
        "see": ("Unaona nini?",),
        "story": ("Chora na utaje {scene}.",),
        "then": (", kisha ",),
        "stop": (".",),
        "plus": ("{a} jumlisha {b} ni ngapi?",),
        "minus": ("{a} toa {b} ni ngapi?",),
        "times": ("{a} mara {b} ni ngapi?",),
        "word": ("Andika {n} kwa maneno.",),
    },
    numbers=(
        *_numbers("sifuri moja mbili tatu nne tano sita saba nane tisa kumi"),
        "kumi na moja",
        "kumi na mbili",
    ),
    yes="ndiyo",
    no="hapana",
    counts={
        f"{count}.{kind}": start + word
        for kind, start in (("3", "mi"), ("5", "ma"))
        for count, word in ((2, "wili"), (3, "tatu"), (4, "nne"))
    },
)

TONGUES: dict[str, Tongue] = {
    "en": ENGLISH,
    "de": GERMAN,
    "fr": FRENCH,
    "es": SPANISH,
    "zh": CHINESE,
    "sw": SWAHILI,
}
