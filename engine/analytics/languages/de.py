"""German."""

from __future__ import annotations

from typing import Final

from engine.analytics.languages.base import make

_FEELINGS: Final = {
    0.9: """
        ausgezeichnet ausgezeichnete begeistert brillant erstklassig exzellent fantastisch fantastische genial grandios großartig großartige hervorragend
        hervorragende herrlich liebe perfekt perfekte phänomenal sensationell spitze spitzenmäßig super toll tolle toller tolles traumhaft
        überglücklich wunderbar wunderbare wundervoll
    """,
    0.7: """
        beeindruckend beeindruckt beste besten bestens dankbar erfreut erleichtert freue freuen freut froh glücklich klasse prima schön schöne schöner schönes
        stolz vergnügen zufrieden zufriedene
    """,
    0.5: """
        angenehm angenehme aufmerksam bedanke bequem danke danken dankeschön effizient einfach empfehle empfehlen erfolg erfolgreich freundlich freundliche
        freundlicher geduldig gefallen gefällt geholfen gelöst geschafft gut gute guten guter gutes herzlich herzlichen hilfreich hilfsbereit höflich kompetent
        lecker lieb mag nett nette netter pünktlich reibungslos respektvoll schnell schnelle sorgfältig verlässlich vertraue vertrauen vorbildlich
        zuverlässig
    """,
    0.3: """
        besser einverstanden ehrlich fair funktioniert geklappt geeignet gerecht gerne gern günstig hilft hoffe hoffen interessant interessiert klappt
        korrekt lohnt passt positiv praktisch ruhig sicher verbessert verständlich verständnis willkommen
    """,
    -0.35: """
        bedenken beschäftigt dauert falsch falsche falscher fehlt fehlen fehlerhaft fraglich gewartet kompliziert komisch langsam leider mangel missverständnis
        müde nervös problem probleme schade schwer schwierig schwierigkeiten seltsam sorge sorgen spät stört teuer traurig umständlich unklar unsicher
        verloren vergessen verspätet verspätung verwirrend verwirrt warte warten zweifel
    """,
    -0.55: """
        abgelehnt abgestürzt abgezockt ablehnen angst arrogant beschädigt beschwere beschweren beschwerde blöd blöde defekt enttäuschend enttäuscht enttäuschung
        fehler frech frustriert frustrierend fürchte genervt gekündigt gelogen gescheitert hingehalten ignoriert inkompetent irreführend kaputt krank kündige
        kündigen kündigung langweilig lügen lügt mangelhaft mies miese nervig nervt peinlich sauer schaden schlecht schlechte schlechter schlechtes schlimm
        schlimmer schmerz schmerzen stress stressig unfähig unfair unfreundlich unglücklich unhöflich unmöglich unverschämt unzufrieden unzuverlässig
        verärgert vergeudet verletzt verpfuscht versagt verschwendet verschwendung wütend zumutung ärger ärgere ärgerlich
    """,
    -0.8: """
        abscheulich abzocke betrogen betrug betrüger ekelhaft empörend empört entsetzlich entsetzt erbärmlich furchtbar furchtbare fürchterlich
        gestohlen grauenhaft grauenvoll grausam hasse hassen horror idiot idioten katastrophal katastrophe lächerlich mist scheiße scheiß schrecklich
        schreckliche schlimmste skandal unerträglich unfassbar unterirdisch unverschämtheit verarscht verklage verklagen widerlich wertlos
    """,
}
_PAIRS: Final = {
    "vielen dank": 0.6, "besten dank": 0.6, "kein problem": -0.3, "guten tag": 0.0, "guten morgen": 0.0, "guten abend": 0.0, "schönen tag": 0.25,
    "wieder gut": 0.2, "auf wiederhören": 0.0, "nicht sicher": 0.2, "na gut": 0.05, "also gut": 0.05, "die nase": -0.3, "liebe frau": 0.0,
    "im stich": -0.6, "so lange": -0.2,
}  # fmt: skip
_FACTORS: Final = {
    1.5: "absolut extrem total völlig komplett unglaublich wahnsinnig äußerst",
    1.3: "sehr wirklich echt besonders höchst richtig so zu dermaßen überaus ständig immer",
    0.8: "ziemlich recht relativ ganz",
    0.6: "etwas bisschen wenig leicht teilweise manchmal vielleicht eventuell einigermaßen halbwegs",
}
_NEGATIONS: Final = {
    4: "nie niemals niemand nichts",
    3: "nicht ohne kaum keineswegs",
    2: "kein keine keinen keinem keiner keines",
}
_CONTRASTS: Final = "aber jedoch allerdings dennoch trotzdem sondern obwohl"
_STOP: Final = """
    der die das den dem des ein eine einen einem einer eines und oder aber doch sondern denn weil dass wenn als wie was wer wen wem wessen wann warum wieso wo
    wohin woher ich du er sie es wir ihr mich dich ihn uns euch mir dir ihm ihnen mein meine meinen meinem meiner dein deine sein seine seinen ihre ihren
    ihrem ihrer unser unsere unseren euer eure bin bist ist sind seid war waren wart gewesen habe hast hat haben habt hatte hatten gehabt werde wirst wird
    werden wurde wurden worden kann kannst können konnte könnte könnten muss müssen musste müsste soll sollen sollte sollten will wollen wollte möchte
    möchten mag darf dürfen durfte nicht kein keine keinen nichts nie noch nur schon auch sehr so zu zum zur mit ohne von vom vor nach bei beim
    aus auf für gegen über unter zwischen durch an am im in ins um bis seit während wegen trotz hier da dort dann jetzt nun heute morgen gestern immer
    wieder mal einmal ja nein doch okay also eben halt eigentlich vielleicht bitte danke gut hallo tag guten wiederhören wiedersehen herr frau etwas
    alles alle allem allen viel viele mehr sich selbst man diese dieser dieses diesen diesem jede jeder jedes jeden welche welcher welches ganz gerade
    genau gar mach mache machen macht gemacht gehen geht ging gibt geben sagen sagt gesagt sage wissen weiß ähm äh hmm mhm einfach dazu dafür damit davon
    daran darauf dabei daher darum deshalb
"""

LANGUAGE: Final = make("de", _FEELINGS, _PAIRS, _FACTORS, _NEGATIONS, _CONTRASTS, _STOP, back=2)
