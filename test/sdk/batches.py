"""Batches, files and completions of Anthropic's SDK for Python."""

import anthropic

from checks import base, check, done, raises, reply, user


def request(custom_id, prompt):
    return {"custom_id": custom_id, "params": {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": user(prompt)}}


client = anthropic.Anthropic(base_url=base, api_key="sk-ant-test", max_retries=0)
batches = client.messages.batches

batch = batches.create(requests=[request("a", "one"), request("b", "[[fake: error=400]]"), request("c", "three")])
check(batch.processing_status, "in_progress")
check(batch.results_url, None)
while batch.processing_status != "ended":
    batch = batches.retrieve(batch.id)
check(batch.results_url, f"{base}/v1/messages/batches/{batch.id}/results")
for _ in range(2):  # the SDK follows results_url as it is
    results = {r.custom_id: r.result for r in batches.results(batch.id)}
    check(results["a"].message.content[0].text, reply("one"))
    check(results["c"].message.content[0].text, reply("three"))
    check(results["b"].error.error.type, "invalid_request_error")
check([b.results_url for b in batches.list()], [batch.results_url])
check(batches.delete(batch.id).type, "message_batch_deleted")

batch = batches.create(requests=[request("d", "four")])
check(batches.cancel(batch.id).processing_status, "canceling")
while batch.processing_status != "ended":
    batch = batches.retrieve(batch.id)
check([r.result.type for r in batches.results(batch.id)], ["canceled"])

raises(anthropic.BadRequestError, lambda: batches.create(requests=[request("e", "x"), request("e", "y")]))

files = client.beta.files if hasattr(client.beta, "files") else client.files
file = files.upload(file=("report.txt", b"what the report says", "text/plain"))
check(file.filename, "report.txt")
check([f.id for f in files.list()], [file.id])
check(files.retrieve_metadata(file.id).size_bytes, len(b"what the report says"))
document = [{"type": "document", "source": {"type": "file", "file_id": file.id}}, {"type": "text", "text": "sum it up"}]
check(client.beta.messages.create(model="claude-sonnet-4-5", max_tokens=100, messages=user(document)).content[0].text, reply("sum it up"))
check(files.delete(file.id).id, file.id)

prompt = "\n\nHuman: hi\n\nAssistant:"
if hasattr(client, "completions"):
    check(client.completions.create(model="claude-2.1", max_tokens_to_sample=9, prompt=prompt).completion.strip(), reply(prompt))
    stream = client.completions.create(model="claude-2.1", max_tokens_to_sample=9, prompt=prompt, stream=True)
    check("".join(e.completion for e in stream).strip(), reply(prompt))

done()
