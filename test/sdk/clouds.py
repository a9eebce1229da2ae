"""Calls of the SDKs for Bedrock, Vertex and Foundry."""

import json

import anthropic
import boto3
from botocore.exceptions import ClientError, EventStreamError

from checks import base, check, done, raises, reply, user

bedrock = anthropic.AnthropicBedrock(base_url=base, aws_region="eu-central-1", aws_access_key="AKIDCLIENT", aws_secret_key="of the client")
kw = {"model": "eu.anthropic.claude-x-v1:0", "max_tokens": 100}
check(bedrock.messages.create(**kw, messages=user("hi")).content[0].text, reply("hi"))
with bedrock.messages.stream(**kw, messages=user("hi")) as s:
    check(s.get_final_text(), reply("hi"))
raises(anthropic.BadRequestError, lambda: bedrock.messages.create(**kw, messages=user("[[fake: error=400]]")))

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
request = json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": user("hi")})
r = runtime.invoke_model(modelId="anthropic.claude-x-v1:0", body=request)  # of no content type
check(json.loads(r["body"].read())["content"][0]["text"], reply("hi"))
r = runtime.invoke_model_with_response_stream(modelId="anthropic.claude-x-v1:0", body=request)
events = [json.loads(e["chunk"]["bytes"]) for e in r["body"]]
check("".join(e["delta"].get("text", "") for e in events if e["type"] == "content_block_delta"), reply("hi"))
check(runtime.count_tokens(modelId="anthropic.claude-x-v1:0", input={"invokeModel": {"body": request}})["inputTokens"] > 0, True)
broken = [{"role": "user", "content": [{"text": "[[fake: tokens=9 midstream_error after=3]]"}]}]
raises(EventStreamError, lambda: list(runtime.converse_stream(modelId="m", messages=broken)["stream"]))
guardrail = {"guardrailIdentifier": "g", "guardrailVersion": "1", "source": "INPUT", "content": [{"text": {"text": "hi"}}]}
e = raises(ClientError, lambda: runtime.apply_guardrail(**guardrail))
check(e.response["Error"]["Code"], "AccessDeniedException")

done()
