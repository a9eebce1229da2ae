"""Calls of Anthropic's SDK for Python."""

import asyncio
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
betas = ["interleaved-thinking-2025-05-14", "another-2026-01-01"]
budget = {"type": "enabled", "budget_tokens": 1024}
with client.beta.messages.stream(model=kw["model"], max_tokens=4000, thinking=budget, betas=betas, messages=user("hi")) as s:
    check([b.type for b in s.get_final_message().content], ["thinking", "text"])

# what lies below the messages
raw = client.messages.with_raw_response.create(**kw, messages=user("hi"))
check(raw.headers["request-id"].startswith("req_"), True)
check(raw.parse().content[0].text, reply("hi"))
with client.messages.with_streaming_response.create(**kw, messages=user("hi"), stream=True) as r:
    check(sum(line == "event: message_stop" for line in r.iter_lines()), 1)
more = {"extra_headers": {"X-Mine": "1"}, "extra_query": {"q": "a b&c"}, "extra_body": {"future": {"x": 1.0}}}
check(client.messages.create(**kw, messages=user("hi"), **more).content[0].text, reply("hi"))
check(len(list(client.models.list(limit=1))) > 1, True)
check(client.messages.count_tokens(model=kw["model"], system="Be brief.", tools=tools, messages=user("hi")).input_tokens > 0, True)
pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(b"%PDF-1.4\n" + bytes(1 << 20)).decode()}}
check(client.messages.create(**kw, messages=user([pdf, {"type": "text", "text": "what is this?"}])).content[0].text, reply("what is this?"))


@anthropic.beta_tool
def weather(city: str) -> str:
    """The weather.

    Args:
        city: where
    """
    return "rain in " + city


prompt = "[[fake: tool=weather input='{\"city\":\"Oslo\"}']]"
check([m.stop_reason for m in client.beta.messages.tool_runner(**kw, tools=[weather], messages=user(prompt))], ["tool_use", "end_turn"])

# a client that leaves, and many that ask the same at once
s = client.messages.create(**kw, messages=user("[[fake: tokens=500 rate=100]]"), stream=True)
next(iter(s))
s.close()


async def together(n):
    async with anthropic.AsyncAnthropic(base_url=base, api_key="sk-ant-test") as c:
        return await asyncio.gather(*(c.messages.create(**kw, messages=user("the same")) for _ in range(n)))


check(len({m.id for m in asyncio.run(together(20))}), 20)

done()
