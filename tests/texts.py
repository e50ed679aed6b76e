"""Texts as models write them, in several languages: how long a token is depends on the language."""

from __future__ import annotations

ENGLISH = """\
A JSON Web Token has three parts, separated by dots: a header, a payload and a signature. The header names the
algorithm that signed the token. The payload holds the claims, which are statements about the user, for example who
issued the token and when it expires. The signature is computed over both of them with a secret key, so the server
can tell at once whether anybody changed a single character.

Note that the payload is only encoded, not encrypted. Everybody who gets hold of the token can read it, so never put
a password into it. Keep its lifetime short, send it over HTTPS only, and give the browser a way to renew it. If you
need to take a token back before it expires, you have to keep a list of revoked ones on the server, which gives away
a part of the advantage that you wanted in the first place.
"""

GERMAN = """\
Die Photosynthese ist der Vorgang, bei dem Pflanzen aus Kohlendioxid und Wasser mithilfe von Licht Zucker
herstellen. Dabei entsteht als Nebenprodukt Sauerstoff, den wir zum Atmen brauchen. Der grüne Farbstoff Chlorophyll
nimmt vor allem rotes und blaues Licht auf; das grüne wird zurückgeworfen, weshalb uns die Blätter grün erscheinen.

Man unterscheidet zwei Abschnitte. In der Lichtreaktion wird die Energie der Sonne in eine chemische Form überführt,
und Wassermoleküle werden gespalten. Im zweiten Abschnitt, dem Calvin-Zyklus, baut die Pflanze mit dieser Energie
das Kohlendioxid zu Traubenzucker um. Überschüssiger Zucker wird als Stärke gespeichert, zum Beispiel in den
Kartoffelknollen. Wie schnell das alles geht, hängt von der Temperatur, der Lichtstärke und der Wasserversorgung ab.
"""

HINDI = """\
भारत में मानसून हर साल जून के पहले सप्ताह में केरल के तट पर पहुँचता है। इसके बाद बादल धीरे-धीरे उत्तर की ओर बढ़ते हैं और
जुलाई के मध्य तक पूरे देश में बारिश होने लगती है। किसानों के लिए यह मौसम बहुत महत्वपूर्ण है, क्योंकि देश की आधी से अधिक खेती आज
भी बारिश के पानी पर निर्भर करती है।

अगर बारिश समय पर न हो, तो धान की बुवाई में देर हो जाती है और फसल कम होती है। दूसरी ओर, बहुत अधिक बारिश से नदियों में बाढ़ आ
जाती है और गाँवों को नुकसान पहुँचता है। इसलिए मौसम विभाग हर साल अप्रैल में अनुमान जारी करता है, ताकि सरकार और किसान दोनों
पहले से तैयारी कर सकें।
"""

CHINESE = """\
数据库索引可以大大加快查询的速度。没有索引的时候，数据库必须逐行读取整张表，才能找到符合条件的记录；有了索引，它就像查字典一样，
先找到位置，再直接读取那一行。最常见的索引是平衡树，它适合范围查询和排序。

不过，索引并不是越多越好。每次插入、更新或者删除数据，数据库都要同时维护所有相关的索引，写入就会变慢，而且索引本身也占用磁盘空间。
因此，建议只为经常出现在查询条件里的列建立索引，并且定期检查哪些索引从来没有被使用过。如果一个列只有很少几种不同的值，例如性别，
那么为它单独建立索引通常没有什么意义。
"""

JAPANESE = """\
雨の日に窓が曇るのは、部屋の中の暖かい空気が冷たいガラスに触れて冷やされるからです。空気は温度が下がると、含むことのできる水蒸気の量が
少なくなります。余った水蒸気は小さな水の粒になって、ガラスの表面につきます。曇りを防ぐには、換気をして湿度を下げるか、ガラスを少し温めると
よいでしょう。車の場合は、エアコンを入れると空気が乾燥して、数分で視界がよくなります。
"""

RUSSIAN = """\
Железные дороги появились в начале девятнадцатого века, когда паровую машину поставили на колёса. До этого грузы
возили на лошадях или по рекам, и зимой торговля почти останавливалась. Поезд оказался быстрее и дешевле, поэтому за
несколько десятилетий города соединила густая сеть путей. Вместе с расписанием поездов пришло и единое время: раньше
в каждом городе часы показывали своё, местное, и пассажиры постоянно опаздывали.
"""

CODE = '''\
Here is a function that retries with a growing pause:

```python
import random
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def retry(call: Callable[[], T], *, tries: int = 5, base: float = 0.2, limit: float = 10.0) -> T:
    """Call a function until it succeeds, at most `tries` times."""
    for attempt in range(tries):
        try:
            return call()
        except (ConnectionError, TimeoutError) as error:
            if attempt == tries - 1:
                raise
            pause = min(limit, base * 2**attempt) * random.uniform(0.5, 1.5)
            print(f"attempt {attempt + 1} failed: {error!r}; waiting {pause:.1f}s")
            time.sleep(pause)
    raise AssertionError("unreachable")
```

```js
const total = items.filter((item) => item.price > 0).reduce((sum, { price, count }) => sum + price * count, 0);
document.querySelector("#total").textContent = `${total.toFixed(2)} €`;
```
'''

LANGUAGES = {
    "English": ENGLISH,
    "German": GERMAN,
    "Hindi": HINDI,
    "Chinese": CHINESE,
    "Japanese": JAPANESE,
    "Russian": RUSSIAN,
    "code": CODE,
}

ODD = {
    "nothing": "",
    "a letter": "a",
    "a special token's name": "<|endoftext|>",
    "half a surrogate pair": "\ud800 and more",
    "emoji": "🧠👩‍👩‍👧‍👦🇮🇳 👍🏽" * 40,
    "one letter for long": "a" * 20_000,
    "spaces": " " * 5_000,
    "line breaks": "\n\r\n\t" * 2_000,
    "digits": "3.14159265358979" * 500,
    "base64": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ" * 100,
    "controls": "\x00\x01\x02\x7f\u200b\ufeff\u2028",
    "rare letters": "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ꙮ ጀ ᚠᛇᚻ ﷽" * 50,
}
