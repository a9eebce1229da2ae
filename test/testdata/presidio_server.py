"""Serve Presidio's analyzer by the REST API of its own server.

usage: presidio_server.py PORT

The package has the engine but not the server, and no language model: names,
which need one, are not found; the engine splits texts with a blank pipeline of
spaCy. PORT 0 takes a free one. The first line of output is the port.
"""

import json
import sys
import tempfile
from pathlib import Path

import spacy
import yaml
from flask import Flask, Response, jsonify, request
from presidio_analyzer import AnalyzerEngineProvider, AnalyzerRequest
from werkzeug.serving import make_server


def engine():
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "blank")
        spacy.blank("en").to_disk(model)
        conf = Path(folder, "nlp.yaml")
        conf.write_text(yaml.dump({"nlp_engine_name": "spacy", "models": [{"lang_code": "en", "model_name": str(model)}]}))
        return AnalyzerEngineProvider(nlp_engine_conf_file=str(conf)).create_engine()


def main():
    analyzer = engine()
    app = Flask(__name__)

    @app.get("/health")
    def health():
        return "up"

    @app.post("/analyze")
    def analyze():
        try:
            asked = AnalyzerRequest(request.get_json())
            if not asked.text:
                raise ValueError("No text provided")
            if not asked.language:
                raise ValueError("No language provided")
            found = analyzer.analyze(
                text=asked.text,
                language=asked.language,
                entities=asked.entities,
                score_threshold=asked.score_threshold,
                return_decision_process=asked.return_decision_process,
            )
        except Exception as error:
            return jsonify(error=str(error)), 500
        return Response(json.dumps([f.to_dict() for f in found]), content_type="application/json")

    server = make_server("127.0.0.1", int(sys.argv[1]), app, threaded=True)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
