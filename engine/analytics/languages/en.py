"""English."""

from __future__ import annotations

from typing import Final

from engine.analytics.languages.base import make

_FEELINGS: Final = {
    0.9: """
        amazing awesome brilliant delighted excellent exceptional exceptionally excellently fabulous fantastic flawless incredible loved love
        magnificent marvelous marvellous outstanding overjoyed perfect perfectly phenomenal splendid superb terrific thrilled wonderful wonderfully
    """,
    0.7: """
        beautiful beautifully best delightful ecstatic enjoyed excited exciting glad grateful great happiest happier happily happy impressed impressive
        lovely loving pleasure praise proud relieved remarkable satisfied satisfying thankful loves
    """,
    0.55: """
        accommodating admire admirable appreciate appreciated appreciates appreciative attentive caring charming cheerful comforting congratulations
        courteous dependable easy effortless efficient efficiently elegant enjoy enjoyable enjoying enthusiastic favorite favourite friendly
        fun gracious good helpful hopeful knowledgeable kind kindly kindness nice nicely patient pleasant pleased polite professional prompt
        promptly quickly recommend recommended reliable respectful seamless smooth smoothly solved succeed success successful successfully
        supportive thank thanks thoughtful trust trusted trustworthy useful valuable welcoming win winner won
    """,
    0.35: """
        accurate agree agreed better bonus calm clear clearly comfortable confident convenient cool correct eager fair fairly faster fine fixed
        flexible generous gift helped helping helps honest hope hoping improve improved improvement improving interested like liked likes neat
        promising ready resolved respect reward safe safely secure smart strong sure sweet understanding upgrade useable warm welcome well works
        worth
    """,
    -0.35: """
        annoys awkward bother bothered bothering busy complicated concern concerned concerns confuse confused confusing delay delayed delays difficult
        doubt expensive forgot forgotten hard hesitant hassle incomplete inconvenience inconvenient incorrect interrupt interrupted issue issues lacking
        late limited lose lost missed missing mistake mistakes nervous overdue problem problems sad sadly slow slowly sorry stop struggle
        struggled struggling stuck tired uncertain unclear uncomfortable unsure wait waiting weak weird worried worry worrying wrong wrongly
    """,
    -0.55: """
        abandoned afraid aggravated aggravating angrily angry annoyed annoying avoid bad badly blame boring broke broken cancel cancelled
        canceled cheat cheated clueless complain complained complaining complaint complaints crash crashed crashes damage damaged defective denied
        deny disappoint disappointed disappointing disappointment disagree dislike disliked disrespect dishonest error errors fail failed failing fails failure
        faulty fear frustrate frustrated frustrating frustration guilty hung hurt hurts ignore ignored ignoring impatient impolite impossible incompetent
        irritated irritating lie lied lies lying mad misled misleading misunderstood neglect neglected negligent nonsense offended offensive overcharge
        overcharged pain painful poor poorly refuse refused refuses regret reject rejected scared shame sick stress stressed stressful suffer suffering
        terrified threat threaten threatened trouble troubled troubles unacceptable unfair unfortunate unfortunately unhappy unhelpful unprofessional
        unreliable unsatisfied upset upsetting useless violated waste wasted wasting worse
    """,
    -0.8: """
        abuse abused abusive appalled appalling atrocious awful crap crook crooks damn despicable disaster disastrous disgraceful disgrace disgusted
        disgusting dreadful enraged fraud fraudulent furious garbage hate hated hates hell hopeless horrible horribly horrendous horrific idiot idiots
        insane insult insulted insulting livid lousy miserable moron nightmare outrage outraged outrageous pathetic ridiculous rubbish rude scam scammed
        scammer scammers shameful stole stolen steal stupid sue suing terrible trash ugly unbelievable vile worst worthless
    """,
}
# A pair that begins with a negation is turned around by it as well.
_PAIRS: Final = {
    "fed up": -0.7, "let down": -0.6, "ripped off": -0.85, "rip off": -0.8, "pissed off": -0.9, "give up": -0.5, "gave up": -0.45, "hung up": -0.5,
    "well done": 0.7, "top notch": 0.85, "thank god": 0.4, "calm down": -0.2, "messed up": -0.6, "screwed up": -0.7, "big deal": 0.0, "worn out": -0.4,
    "not acceptable": 0.6, "no way": 0.4, "no thanks": 0.05, "no thank": 0.05, "would like": 0.0, "looks like": 0.0, "sounds like": 0.0,
    "feel like": 0.0, "something like": 0.0, "just like": 0.0, "as well": 0.0, "for sure": 0.25, "make sure": 0.0, "not sure": 0.25, "good morning": 0.0,
    "good afternoon": 0.0, "good evening": 0.0, "good day": 0.0, "good bye": 0.0, "good luck": 0.3, "no problem": -0.3, "no worries": -0.3,
}  # fmt: skip
_FACTORS: Final = {
    1.5: "absolutely completely extremely incredibly insanely ridiculously terribly totally utterly awfully",
    1.3: "very really truly deeply especially highly hugely particularly seriously so such super too always entirely thoroughly",
    0.8: "quite rather pretty kinda sorta",
    0.6: "almost barely bit little mildly moderately partly scarcely slightly somewhat occasionally sometimes maybe perhaps possibly",
}
_NEGATIONS: Final = {
    4: "never nobody none neither nothing",
    3: "not dont cant wont didnt doesnt isnt wasnt arent couldnt wouldnt shouldnt cannot hardly without",
    1: "no nor",
}
_CONTRASTS: Final = "but however although though yet nevertheless nonetheless"
_STOP: Final = """
    the and for are was were you your yours our ours their theirs they them his her hers him she its this that these those there here what which who whom
    whose when where why how with without within from into onto upon about above below under over again then than too also very just only even ever
    never not nor but yet however although though because since while until unless have has had having been being will would shall should can could may
    might must ought does did doing done dont doesnt didnt cant wont get gets got gotten getting give gives gave given giving take takes took taken make
    makes made making say says said saying tell tells told telling know knows knew known think thinks thought see sees saw seen come comes came coming
    want wants wanted need needs needed let lets put puts going gone goes went keep keeps kept all any some many much more most other another such same
    each every both either neither few several lot lots one two three four five six seven eight nine ten first second last next now today tomorrow
    yesterday still already always sometimes maybe perhaps really actually basically literally probably right left okay yeah yes yep nope hello
    bye goodbye please thanks thank sorry sir madam maam mister well like kind sort thing things something anything nothing everything someone anyone
    somebody anybody everybody everyone way ways out off down back through around between after before during against along across per via yourself myself
    himself herself itself ourselves themselves whatever whichever whoever gonna wanna gotta umm uhm hmm huh mhm alright sure good fine look looks looking call calling
    called able about day days time times moment second minute minutes
"""

LANGUAGE: Final = make("en", _FEELINGS, _PAIRS, _FACTORS, _NEGATIONS, _CONTRASTS, _STOP)
