"""Calls of Anthropic's SDK for Python."""

import base64

import anthropic

from checks import base, check, done, raises, reply, user

client = anthropic.Anthropic(base_url=base, api_key="sk-ant-test")
kw = {"model": "claude-sonnet-4-5", "max_tokens": 100}

check(client.messages.create(**kw, messages=user("hi")).content[0].text, reply("hi"))
with client.messages.stream(**kw, messages=user("hi")) as s:
    check(s.get_final_text(), reply("hi"))
check(client.messages.count_tokens(model=kw["model"], messages=user("hello there")).input_tokens > 0, True)
check(client.models.list(limit=3).data[0].type, "model")

# an image, a document, a system prompt with caching
png = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(64)).decode()
content = [
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": png}},
    {"type": "document", "title": "A text", "source": {"type": "text", "media_type": "text/plain", "data": "what it says"}},
    {"type": "text", "text": "what is this?", "cache_control": {"type": "ephemeral"}},
]
r = client.messages.create(**kw, system=[{"type": "text", "text": "Be brief."}], messages=user(content))
check(r.content[0].text, reply("what is this?"))

# a tool, to its result
tools = [{"name": "weather", "description": "the weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]
prompt = "[[fake: tool=weather input='{\"city\":\"Oslo\"}']]"
history = user(prompt)
r = client.messages.create(**kw, tools=tools, messages=history)
check(r.stop_reason, "tool_use")
call = next(b for b in r.content if b.type == "tool_use")
check(call.input, {"city": "Oslo"})
history += [
    {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in r.content]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"}]},
]
check(client.messages.create(**kw, tools=tools, messages=history).content[0].text.startswith("Tool result"), True)

# retried as without a gateway
check(client.messages.create(**kw, messages=user("[[fake: error=529 times=2 text=ok retry_after_ms=1]]")).content[0].text, "ok")

# errors are raised as themselves
for prompt, error in {
    "[[fake: error=400]]": anthropic.BadRequestError,
    "[[fake: error=401]]": anthropic.AuthenticationError,
    "[[fake: error=413]]": anthropic.APIStatusError,
}.items():
    raises(error, lambda: client.messages.create(**kw, messages=user(prompt)))


def stream(prompt):
    with client.messages.stream(**kw, messages=user(prompt)) as s:
        return s.get_final_text()


e = raises(anthropic.APIStatusError, lambda: stream("[[fake: tokens=9 midstream_error after=3]]"))
check(e.body["error"]["type"], "overloaded_error")
e = raises(Exception, lambda: stream("[[fake: tokens=9 cut after=3]]"))
check(type(e).__name__ in ("RemoteProtocolError", "APIConnectionError"), True)

# thinking, unknown blocks, a refusal
with client.messages.stream(**kw, messages=user("[[fake: thinking unknown text='after it']]")) as s:
    for _ in s:
        pass
check(client.messages.create(**kw, messages=user("[[fake: refusal]]")).stop_reason, "refusal")

done()
