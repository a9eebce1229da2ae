"""Run Presidio's pattern recognisers over lines, without a language model.

usage: presidio_lines.py default|all

default  the recognisers that Presidio turns on for English
all      every pattern recogniser it has, of all countries, whatever the language

Each line of standard input is a JSON object with "id" and "text"; each line of
output has the "id", the CPU time that the text took ("ns"), and "findings" with
"type", "start" and "end" (code points) and "score". Words near a value count: the
text is split into words, and a word's lemma is the word in lower case.
"""

import json
import logging
import sys
import time

import spacy
from presidio_analyzer import (
    AnalyzerEngine,
    PatternRecognizer,
    RecognizerRegistry,
    predefined_recognizers,
)
from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine
from presidio_analyzer.recognizer_registry import RecognizerRegistryProvider


class Words(NlpEngine):
    """Splits text into words. No entities."""

    def __init__(self):
        self.nlp = spacy.blank("en")
        self.nlp.max_length = 1 << 30

    def load(self):
        pass

    def is_loaded(self):
        return True

    def process_text(self, text, language):
        doc = self.nlp(text)
        return NlpArtifacts(
            entities=[],
            tokens=doc,
            tokens_indices=[t.idx for t in doc],
            lemmas=[t.lower_ for t in doc],
            nlp_engine=self,
            language=language,
        )

    def process_batch(self, texts, language, **kwargs):
        for text in texts:
            yield text, self.process_text(text, language)

    def is_stopword(self, word, language):
        return self.nlp.vocab[word].is_stop

    def is_punct(self, word, language):
        return self.nlp.vocab[word].is_punct

    def get_supported_entities(self):
        return []

    def get_supported_languages(self):
        return ["en"]


def registry(which):
    if which == "default":
        r = RecognizerRegistryProvider().create_recognizer_registry()
        r.recognizers = [x for x in r.recognizers if x.supported_language == "en" and "Spacy" not in x.name]
        return r
    r = RecognizerRegistry(supported_languages=["en"])
    for name in sorted(dir(predefined_recognizers)):
        cls = getattr(predefined_recognizers, name)
        if isinstance(cls, type) and (issubclass(cls, PatternRecognizer) or name == "PhoneRecognizer"):
            r.add_recognizer(cls(supported_language="en"))
    return r


def main():
    logging.disable(logging.CRITICAL)
    engine = AnalyzerEngine(registry=registry(sys.argv[1]), nlp_engine=Words(), supported_languages=["en"])
    engine.analyze("warm up", "en")
    for line in sys.stdin:
        row = json.loads(line)
        start = time.process_time_ns()
        results = engine.analyze(row["text"], "en")
        ns = time.process_time_ns() - start
        findings = [{"type": r.entity_type, "start": r.start, "end": r.end, "score": r.score} for r in results]
        print(json.dumps({"id": row["id"], "ns": ns, "findings": findings}))


if __name__ == "__main__":
    main()
