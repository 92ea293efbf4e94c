"""Measures how often the right encoding is among those that `corpora.encodings` proposes: three texts in each of 16 encodings.

::

    python -m tools.encoding_table

An encoding is right if it reads exactly the text. Each encoding has prose, a list of short lines, and a program or table, which is mostly
ASCII. The texts were written for this table.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from corpora.encodings import SHOWN, proposals

RUSSIAN = (
    (
        'Утром на реке ещё стоял туман, и рыбаки молча тянули сети. Старик сказал внуку: "Смотри на воду, а не на берег". '
        "Мальчик кивнул, но всё равно считал ворон на крыше сарая. К полудню поднялся ветер, и лодки вернулись домой.\n"
    ),
    "Анна\nБорис\nВероника\nГригорий\nДмитрий\nЕкатерина\nЖанна\nЗинаида\nИгорь\nКсения\nЛюдмила\nМихаил\nНаталья\nОльга\nПётр\n",
    "def read_all(path):\n    # читает файл целиком\n    with open(path) as f:\n        return f.read()\n\n\nprint('готово')\nprint('ошибка: нет файла')\n",
)
TEXTS = {
    "cp949": (
        (
            "아침 안개가 강 위에 낮게 깔려 있었다. 할머니는 손자에게 천천히 걸으라고 말했다. 아이는 돌멩이를 주워 물에 던졌고, "
            "둥근 물결이 멀리까지 번져 나갔다. 점심때가 되자 바람이 불어 배들이 돌아왔다. 똠방각하는 펲시콜라를 마셨다.\n"
        ),
        "김민준\n이서연\n박도윤\n최지우\n정하은\n강시우\n조수아\n윤예준\n장하린\n임건우\n한소율\n오지호\n서다인\n신유찬\n권나윤\n황선우\n",
        "def main():\n    # 설정 파일을 읽는다\n    config = load('settings.ini')\n    print('시작합니다')\n    run(config)\n    print('끝났습니다')\n",
    ),
    "shift_jis": (
        (
            "朝の川には霧が立ちこめていた。祖父は孫に、足もとをよく見て歩きなさいと言った。子どもは石を拾って水に投げ、"
            "丸い波が遠くまで広がっていくのを眺めた。昼になると風が吹き、舟はみな港へ帰ってきた。\n"
        ),
        "佐藤花子\n鈴木一郎\n高橋健太\n田中美咲\n伊藤大輔\n渡辺直子\n山本さくら\n中村翔\n小林由美\n加藤ヒロシ\n",
        'int main(void) {\n    /* 設定ファイルを読む */\n    struct config c = load("app.conf");\n    puts("開始します");\n    return run(&c); // 終了\n}\n',
    ),
    "euc_jp": (
        (
            "山の向こうに夕日が沈むころ、村の子どもたちは家に帰った。母は台所でみそ汁を作り、父は明日の畑の話をしていた。"
            "窓の外では虫が鳴き、遠くの線路を最後の列車が走っていった。\n"
        ),
        "りんご\nみかん\nぶどう\nいちご\nさくらんぼ\nメロン\nバナナ\n柿\n梨\n桃\n栗\nレモン\nスイカ\n",
        "# 出力先の設定\nOUTPUT=/var/tmp/out\n# 文字コードは変更しないこと\nLANG=ja_JP.eucJP\nexport LANG OUTPUT\necho '完了しました'\n",
    ),
    "gb18030": (
        (
            "清晨的河面上飘着薄雾，老人慢慢地收起渔网。他对孙子说：“看水，不要看岸。”孩子点点头，却还是数着屋顶上的乌鸦。"
            "到了中午，起风了，所有的船都回到了码头，村子里又热闹起来。\n"
        ),
        "王小明\n李秀英\n张伟\n刘洋\n陈静\n杨丽\n赵磊\n黄敏\n周涛\n吴艳\n徐强\n孙娟\n马超\n朱红\n",
        '#include <stdio.h>\n\nint main(void)\n{\n    // 打印欢迎信息\n    printf("你好，世界\\n");\n    return 0; // 正常退出\n}\n',
    ),
    "big5": (
        (
            "清晨的河面上飄著薄霧，老人慢慢地收起漁網。他對孫子說：「看水，不要看岸。」孩子點點頭，卻還是數著屋頂上的烏鴉。"
            "到了中午，起風了，所有的船都回到了碼頭，村子裡又熱鬧起來。\n"
        ),
        "陳怡君\n林志明\n黃淑芬\n張家豪\n李雅婷\n王建宏\n吳佩珊\n劉俊傑\n蔡美玲\n楊宗翰\n許文彬\n鄭雅文\n",
        '#include <stdio.h>\n\nint main(void)\n{\n    // 顯示歡迎訊息\n    printf("你好，臺灣\\n");\n    return 0; // 正常結束\n}\n',
    ),
    "koi8_r": RUSSIAN,
    "cp1251": (
        (
            "Осенью в саду пахло яблоками и мокрой землёй. Бабушка варила варенье, а мы бегали вокруг дома и спорили, кто первый увидит журавлей. "
            "Вечером зажигали лампу — и весь дом становился жёлтым, как мёд.\n"
        ),
        "яблоко\nгруша\nслива\nвишня\nсмородина\nкрыжовник\nмалина\nабрикос\nвиноград\nарбуз\nдыня\nежевика\n",
        '<html>\n<head><title>Новости</title></head>\n<body>\n<p>Добро пожаловать!</p>\n<a href="index.html">Главная</a>\n</body>\n</html>\n',
    ),
    "cp1250": (
        (
            "Rano nad rzeką wisiała mgła, a rybacy w milczeniu ciągnęli sieci. „Patrz na wodę, nie na brzeg” – powiedział dziadek. "
            "Chłopiec skinął głową, lecz i tak liczył wrony na dachu stodoły. Około południa zerwał się wiatr i łodzie wróciły do domu.\n"
        ),
        "Žofie\nŠtěpán\nJiří\nKateřina\nBožena\nTomáš\nLuděk\nZdeněk\nRůžena\nOndřej\nŠárka\nMatěj\nAnežka\nVojtěch\n",
        "sub main {\n    # beolvassa a beállításokat\n    my $c = load('beállítás.ini');\n    print \"Kész: minden működik, őrült jó\\n\";\n    return tűrés($c);\n}\n",
    ),
    "iso8859_2": (
        (
            "Ráno nad řekou ležela mlha a rybáři mlčky tahali sítě. Dědeček řekl vnukovi, aby se díval na vodu, a ne na břeh. "
            "Chlapec přikývl, ale stejně počítal vrány na střeše stodoly. K poledni se zvedl vítr a lodě se vrátily domů.\n"
        ),
        "Łukasz\nMałgorzata\nStanisław\nAgnieszka\nWojciech\nŻaneta\nBłażej\nKrzyś\nGrażyna\nMieczysław\nBożena\nJędrzej\nZdzisław\nMiłosz\n",
        "# nastavení serveru\nport = 8080\nname = 'pokusný stroj'\n# příliš žluťoučký kůň úpěl ďábelské ódy\nlog = '/var/log/app'\n",
    ),
    "cp1252": (
        (
            "“I don’t know,” she said, “whether the river rises before noon – but the boats won’t wait.” He smiled and shut the door. "
            "It was a quiet café near the harbour; the naïve boy didn’t notice how late it had become.\n"
        ),
        "Amélie\nBenoît\nChloé\nDésirée\nÉlodie\nFrançois\nGaëlle\nHélène\nIrène\nJérôme\nLoïc\nMaëlys\nNoël\nRenée\n",
        '/* Größe des Puffers in Bytes */\nint groesse = 4096;\n/* für später: Überlauf prüfen */\nprintf("Fehler: Datei nicht geöffnet\\n");\nreturn -1; // schließen\n',
    ),
    "cp1253": (
        (
            "Το πρωί η ομίχλη σκέπαζε το ποτάμι και οι ψαράδες τραβούσαν σιωπηλοί τα δίχτυα. Ο παππούς είπε στον εγγονό του: «Κοίτα το νερό, "
            "όχι την όχθη». Το παιδί έγνεψε, μα συνέχισε να μετράει τα κοράκια στη στέγη. Άνεμος σηκώθηκε το μεσημέρι.\n"
        ),
        "Άννα\nΒασίλης\nΓιώργος\nΔήμητρα\nΕλένη\nΖωή\nΉβη\nΘανάσης\nΙωάννα\nΚώστας\nΛευτέρης\nΜαρία\nΝίκος\n",
        "SELECT name FROM users; -- όλοι οι χρήστες\nUPDATE users SET city = 'Αθήνα' WHERE id = 7;\n-- τέλος του αρχείου\n",
    ),
    "cp1254": (
        (
            "Sabah ırmağın üstünde sis vardı, balıkçılar ağlarını sessizce çekiyordu. Dedem bana “Suya bak, kıyıya değil” dedi. "
            "Başımı salladım ama yine de ahırın çatısındaki kargaları saydım. Öğleye doğru rüzgâr çıktı, kayıklar eve döndü.\n"
        ),
        "Ayşe\nBarış\nÇağla\nDoğan\nElif\nFırat\nGülşen\nHüseyin\nIşıl\nİbrahim\nMüge\nNazlı\nOğuz\nÖzlem\nŞükrü\nTuğba\nÜmit\nYağız\n",
        "print('Başlıyor')\n# dosyayı aç ve satırları say\nwith open('kayıt.txt') as f:\n    n = sum(1 for _ in f)\nprint(n, 'satır okundu, işlem bitti')\n",
    ),
    "iso8859_15": (
        (
            'Der Müller ging früh zur Mühle und zählte die Säcke. "Zwölf Stück" wären 30 € wert, dachte er, doch der Bäcker wollte nur fünf. '
            "Über Nacht fiel Schnee, und die Straße war am Morgen weiß und still.\n"
        ),
        "Åsa\nBjörn\nÅke\nGöran\nHåkan\nJörgen\nKerstin\nMårten\nPär\nSölve\nTörnqvist\nÄngla\nÖsten\n",
        "; paramètres du serveur\nport=8080\nnom=bœuf et crème brûlée\n; prix : 12 €, réglé à la caisse\nclé=été\n",
    ),
    "utf_16_le": (
        "The river was quiet before noon, and the fishermen pulled in their nets without a word. Look at the water, said the old man.\n",
        "Анна\nБорис\nВера\nГлеб\nДарья\nЕгор\nЖанна\nЗоя\n",
        "아침 안개가 강 위에 낮게 깔려 있었다.\n할머니는 손자에게 말했다.\n둥근 물결이 번져 나갔다.\n",
    ),
    "utf_16_be": (
        "id;name;city\r\n1;Anna;Graz\r\n2;Bernd;Linz\r\n3;Clara;Wien\r\n4;Daniel;Wels\r\n",
        "清晨的河面上飘着薄雾，老人慢慢地收起渔网。\n孩子点点头，却还是数着屋顶上的乌鸦。\n",
        "Το πρωί η ομίχλη σκέπαζε το ποτάμι.\nΟ παππούς κοίταξε το νερό.\n",
    ),
    "mac_roman": (
        (
            "Le matin, la rivière était couverte de brume et les pêcheurs tiraient leurs filets sans un mot. « Regarde l’eau, pas la rive », "
            "dit le vieil homme. L’enfant hocha la tête, mais il comptait déjà les corbeaux sur le toit de la grange.\n"
        ),
        "Ángel\nBegoña\nCésar\nÍñigo\nJosé\nLucía\nMaría\nMoisés\nNúria\nRamón\nSofía\nTomás\nVíctor\nÁlvaro\n",
        "tell application “Finder”\n    -- öffnet den Ordner für Übungen\n    open folder “Größen”\n    display dialog “Don’t panic…”\nend tell\n",
    ),
}


def placed() -> Iterator[tuple[str, int, int | None, list[str]]]:
    """Yields for each text its encoding and number, the place of the right proposal, counted from 1, and all proposals."""
    for encoding, texts in TEXTS.items():
        for number, text in enumerate(texts, 1):
            data = text.encode(encoding)
            found = [proposal.encoding for proposal in proposals(data, ["utf-8"])]
            place = next((place for place, name in enumerate(found, 1) if data.decode(name) == text), None)
            yield encoding, number, place, found


def main() -> int:
    """Prints the table; the status is 1 if fewer than nine in ten are among the proposals."""
    rows = list(placed())
    for encoding, number, place, found in rows:
        print(f"{encoding:<12}{number}  {place or '-'}  {', '.join(found)}")
    first, shown = sum(place == 1 for _, _, place, _ in rows), sum(place is not None for _, _, place, _ in rows)
    print(f"right: the first proposal in {first} of {len(rows)}, one of the first {SHOWN} in {shown} ({shown / len(rows):.0%})")
    return int(shown < 0.9 * len(rows))


if __name__ == "__main__":
    sys.exit(main())
