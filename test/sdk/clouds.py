"""Calls of the SDKs for Bedrock, Vertex and Foundry against a base URL. Prints "N passed, 0 failed", or ends with the first failure."""

import hashlib
import sys

import anthropic
import boto3
from botocore.exceptions import ClientError, EventStreamError

base = sys.argv[1]
passed = 0


def check(got, want):
    global passed
    assert got == want, f"got {got!r}, want {want!r}"
    passed += 1


def reply(prompt):
    return f"Reply {hashlib.sha256(prompt.encode()).hexdigest()[:12]} to: {prompt[:120]}"


def user(content):
    return [{"role": "user", "content": content}]


bedrock = anthropic.AnthropicBedrock(base_url=base, aws_region="eu-central-1", aws_access_key="AKIDCLIENT", aws_secret_key="of the client")
kw = {"model": "eu.anthropic.claude-x-v1:0", "max_tokens": 100}
check(bedrock.messages.create(**kw, messages=user("hi")).content[0].text, reply("hi"))
with bedrock.messages.stream(**kw, messages=user("hi")) as s:
    check(s.get_final_text(), reply("hi"))
try:
    bedrock.messages.create(**kw, messages=user("[[fake: error=400]]"))
    raise SystemExit("no error")
except anthropic.BadRequestError:
    passed += 1

vertex = anthropic.AnthropicVertex(base_url=base + "/v1", region="europe-west1", project_id="p-1", access_token="t")
kw = {"model": "claude-x@20250929", "max_tokens": 100}
check(vertex.messages.create(**kw, messages=user("hi")).content[0].text, reply("hi"))
with vertex.messages.stream(**kw, messages=user("hi")) as s:
    check(s.get_final_text(), reply("hi"))
check(vertex.messages.count_tokens(model=kw["model"], messages=user("hi")).input_tokens > 0, True)

foundry = anthropic.AnthropicFoundry(base_url=base + "/anthropic", api_key="k")
check(foundry.messages.create(model="deployment", max_tokens=9, messages=user("hi")).content[0].text, reply("hi"))

runtime = boto3.client("bedrock-runtime", endpoint_url=base, region_name="eu-central-1", aws_access_key_id="AKIDCLIENT", aws_secret_access_key="of the client")
hi = [{"role": "user", "content": [{"text": "hi"}]}]
arn = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abc"
check(runtime.converse(modelId=arn, messages=hi)["output"]["message"]["content"][0]["text"], reply("hi"))
r = runtime.converse_stream(modelId="anthropic.claude-x-v1:0", messages=hi)
check("".join(e["contentBlockDelta"]["delta"].get("text", "") for e in r["stream"] if "contentBlockDelta" in e), reply("hi"))
try:
    r = runtime.converse_stream(modelId="m", messages=[{"role": "user", "content": [{"text": "[[fake: tokens=9 midstream_error after=3]]"}]}])
    for _ in r["stream"]:
        pass
    raise SystemExit("no error")
except EventStreamError:
    passed += 1
try:
    runtime.apply_guardrail(guardrailIdentifier="g", guardrailVersion="1", source="INPUT", content=[{"text": {"text": "hi"}}])
    raise SystemExit("no error")
except ClientError as e:
    check(e.response["Error"]["Code"], "AccessDeniedException")

print(f"{passed} passed, 0 failed")
