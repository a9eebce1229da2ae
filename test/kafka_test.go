package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/claudeaudit/claudeaudit/internal/bucket/buckettest"
	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch/estest"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/otlpclient"
)

// broker is a Kafka broker.
type broker struct {
	t    *testing.T
	addr string
	dir  string
	libs string
	cmd  *exec.Cmd
}

const kafkaVersion = "3.9.1" // as in kafka/pom.xml

// kafkaLibraries are the broker's jars, which Maven fetches once, 46 MB.
func kafkaLibraries(t *testing.T) string {
	t.Helper()
	required := os.Getenv("CLAUDEAUDIT_E2E") == "required"
	give := func(format string, args ...any) {
		t.Helper()
		if required {
			t.Fatalf("Kafka is required and can't be had: "+format, args...)
		}
		t.Skipf("no Kafka: "+format, args...)
	}
	if _, err := exec.LookPath("java"); err != nil {
		give("%v", err)
	}
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	dir := filepath.Join(cache, "kafka-test", kafkaVersion)
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if !required {
		give("it is not installed; CLAUDEAUDIT_E2E=required fetches it")
	}
	beside, err := os.MkdirTemp(t.TempDir(), "libs")
	require.NoError(t, err)
	out, err := exec.Command("mvn", "-q", "-B", "-ntp", "-f", filepath.Join("kafka", "pom.xml"), "dependency:copy-dependencies",
		"-DoutputDirectory="+beside, "-DincludeScope=runtime").CombinedOutput()
	if err != nil {
		give("%v\n%s", err, out)
	}
	require.NoError(t, os.MkdirAll(filepath.Dir(dir), 0o755))
	require.NoError(t, os.CopyFS(dir, os.DirFS(beside)))
	return dir
}

// newBroker starts a broker that is its own controller, and whose topics have some
// partitions. It takes some seconds to be ready: see await.
func newBroker(t *testing.T, partitions int) *broker {
	t.Helper()
	return newBrokers(t, 1, partitions)[0]
}

// newBrokers starts brokers, of which the first is the controller too. A topic has a
// replica on each, and takes nothing that not all have.
func newBrokers(t *testing.T, n, partitions int) []*broker {
	t.Helper()
	brokers := make([]*broker, n)
	controller := freeAddr(t)
	for i := range brokers {
		brokers[i] = &broker{t: t, addr: freeAddr(t), dir: t.TempDir(), libs: kafkaLibraries(t)}
		brokers[i].create(i+1, n, partitions, controller)
	}
	return brokers
}

func (b *broker) create(node, nodes, partitions int, controller string) {
	t := b.t
	t.Helper()
	roles, listeners := "broker", ""
	if node == 1 {
		roles, listeners = "broker,controller", ",CONTROLLER://"+controller
	}
	properties := fmt.Sprintf(`process.roles=%[5]s
node.id=%[7]d
listeners=PLAINTEXT://%[1]s%[6]s
advertised.listeners=PLAINTEXT://%[1]s
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.voters=1@%[2]s
log.dirs=%[3]s
num.partitions=%[4]d
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
message.max.bytes=16777216
default.replication.factor=%[8]d
min.insync.replicas=%[8]d
`, b.addr, controller, filepath.Join(b.dir, "data"), partitions, roles, listeners, node, nodes)
	require.NoError(t, os.WriteFile(b.config(), []byte(properties), 0o600))
	out, err := b.java("kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", b.config()).CombinedOutput()
	require.NoError(t, err, "%s", out)
	b.launch()
	t.Cleanup(b.kill)
}

func (b *broker) config() string { return filepath.Join(b.dir, "server.properties") }

func (b *broker) java(main string, args ...string) *exec.Cmd {
	return exec.Command("java", append([]string{
		"-Xms256m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-cp", filepath.Join(b.libs, "*"), main,
	}, args...)...)
}

func (b *broker) launch() {
	b.t.Helper()
	log, err := os.OpenFile(filepath.Join(b.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(b.t, err)
	defer log.Close()
	b.cmd = b.java("kafka.Kafka", b.config())
	b.cmd.Stdout, b.cmd.Stderr = log, log
	require.NoError(b.t, b.cmd.Start())
}

// await waits until the broker takes connections.
func (b *broker) await() {
	b.t.Helper()
	require.Eventually(b.t, func() bool {
		conn, err := net.DialTimeout("tcp", b.addr, time.Second)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	}, startTimeout, 100*time.Millisecond, "Kafka did not start; its log is in %s", b.dir)
}

func (b *broker) kill() {
	if b.cmd == nil {
		return
	}
	if err := b.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		b.t.Errorf("killing Kafka: %v", err)
	}
	_ = b.cmd.Wait() // it was killed
	b.cmd = nil
}

// set changes a setting of a topic.
func (b *broker) set(topic, setting string) {
	b.t.Helper()
	out, err := b.java("kafka.admin.ConfigCommand", "--bootstrap-server", b.addr, "--entity-type", "topics", "--entity-name", topic,
		"--alter", "--add-config", setting).CombinedOutput()
	require.NoError(b.t, err, "%s", out)
}

// An agent acknowledges what as many replicas have as the topic asks for. While one lacks
// it, the agent gives no answer, and the application's own deadline ends the request, to be
// sent again. What is larger than the topic takes is refused.
func TestAgentAndTheTopicsSettings(t *testing.T) {
	brokers := newBrokers(t, 2, 1)
	agent := newCollector(t, "agent.yaml", map[string]any{
		"exporters": map[string]any{"kafka": map[string]any{"producer": map[string]any{"allow_auto_topic_creation": true}}},
	})
	agent.env = append(agent.env, "KAFKA_BROKER="+brokers[0].addr)
	for _, b := range brokers {
		b.await()
	}
	agent.start()
	send := func(prompt string, deadline time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		return agent.client().Send(ctx, traces(newCall("u", prompt)), otlpclient.GRPC)
	}
	delivered := func(prompt string) {
		t.Helper()
		require.Eventually(t, func() bool { return send(prompt, 10*time.Second) == nil }, startTimeout, 100*time.Millisecond)
	}
	delivered("makes the topic, once both brokers are there")

	brokers[1].kill()
	err := send("one broker alone has it", 3*time.Second)
	t.Logf("without the second replica: %v", err)
	require.Error(t, err)
	brokers[1].launch()
	delivered("both have it")

	const topic = "claudeaudit_spans"
	brokers[0].set(topic, "max.message.bytes=65536")
	noise := make([]byte, 200_000)
	for i := range noise {
		noise[i] = byte('a' + rand.IntN(26))
	}
	err = send(string(noise), 10*time.Second)
	var refused *otlpclient.Error
	require.ErrorAs(t, err, &refused)
	t.Logf("too large: %v, retryable %v", err, refused.Retryable)
	require.NotZero(t, refused.Code, "it got no answer")
	brokers[0].set(topic, "max.message.bytes=16777216")
	delivered(string(noise))

	for _, b := range brokers {
		b.kill()
	}
	err = send("no broker", 3*time.Second)
	t.Logf("without a broker: %v", err)
	require.Error(t, err)
}

// An agent, a broker, two central collectors, Elasticsearch and the store of the
// ledgers, each killed in its turn under load: what was acknowledged to the
// application is in the index exactly once, each collector's ledger and the
// index agree, and the locked buckets alone hold all of it.
func TestScaledOut(t *testing.T) {
	const partitions = 4 // of each of the topics
	kafka := newBroker(t, partitions)
	server := estest.Start(t, estest.Options{})
	prefix := server.Prefix(t)
	store := startEvidenceBuckets(t)
	asOwner(t)
	address := "KAFKA_BROKER=" + kafka.addr

	agent := newCollector(t, "agent.yaml", map[string]any{
		"exporters": map[string]any{"kafka": map[string]any{"producer": map[string]any{"allow_auto_topic_creation": true}}},
	})
	agent.env = append(agent.env, address)
	kafka.await()
	agent.start()
	// The topics are made by the first message of each.
	first := newCall("u", "a question")
	nothing := plog.NewLogs()
	nothing.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().Body().SetStr("of no call")
	for _, p := range []otlpclient.Payload{traces(first), otlpclient.FromLogs(nothing)} {
		_, err := agent.client().SendRetrying(t.Context(), p, otlpclient.GRPC)
		require.NoError(t, err)
	}

	// The second comes when the first has all partitions: then one with half of
	// them all has half of each topic, and nothing moves any more.
	var centrals []*central
	for i := range 2 {
		c := newCentral(t, fmt.Sprintf("central-%d", i), server.URL, prefix, store)
		c.env = append(c.env, address)
		c.launch()
		c.waitReady()
		centrals = append(centrals, c)
		c.awaitPartitions(2 * partitions / len(centrals))
	}
	centrals[0].awaitPartitions(2 * partitions / len(centrals))

	// What is told of one call, each part in a request of its own, meets in one of them.
	captures, requests := copies(t, 1, 1)
	for i, p := range requests {
		require.NoError(t, agent.client().Send(t.Context(), p, otlpclient.Transports[i%len(otlpclient.Transports)]))
	}
	var wrong []string
	if !assert.Eventually(t, func() bool {
		records := slices.DeleteFunc(centrals[0].records(), func(r record) bool { return r.text("application_id") == "e2e" })
		wrong = differences(t, captures, records, compareMetadata)
		return len(wrong) == 0
	}, followTimeout, time.Second) {
		t.Fatal(strings.Join(wrong, "\n"))
	}
	requireApart(t, centrals[0].collector, centrals[1].collector)

	l := &load{acked: map[string]int{first.id(): 1}}
	phase := func(name string, act func()) {
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		client, err := otlpclient.New(agent.httpAddr, agent.grpcAddr)
		require.NoError(t, err)
		go func() {
			defer close(done)
			l.run(ctx, client, 1)
		}()
		time.Sleep(time.Duration(500+rand.IntN(1000)) * time.Millisecond)
		act()
		time.Sleep(1500 * time.Millisecond)
		stop()
		<-done
		require.NoError(t, client.Close())
		require.Empty(t, l.refused, "requests were refused for good: %v", l.refused)
		t.Logf("%s: %d calls acknowledged so far, %d requests to send again", name, len(l.acked), len(l.pending))
	}
	phase("all up", func() {})
	phase("one central collector killed", func() { centrals[0].kill() })
	centrals[1].awaitPartitions(2 * partitions) // its share, too
	phase("it is back, and the other killed", func() { centrals[0].start(); centrals[1].kill() })
	phase("the broker killed and back", func() {
		kafka.kill()
		time.Sleep(time.Second)
		kafka.launch()
		centrals[1].launch()
		kafka.await()
		centrals[1].waitReady()
	})
	restarted := make(chan struct{})
	phase("Elasticsearch killed", func() { server.Kill(t) })
	go func() {
		defer close(restarted)
		server.Restart(t)
	}()
	phase("the store killed", func() { store.Kill() })
	phase("the store back", func() { store.Start() })
	phase("the agent killed", func() { agent.kill() })
	agent.start()
	l.drain(t, agent.client())
	<-restarted

	var got map[string]int
	require.Eventually(t, func() bool {
		got = spansIn(t, server, prefix)
		for id := range l.acked {
			if got[id] == 0 {
				return false
			}
		}
		return true
	}, 3*time.Minute, time.Second, "not all that was acknowledged came into the index")
	for id, n := range got {
		require.Equal(t, 1, n, "call %s is in the index %d times", id, n)
	}
	t.Logf("%d calls acknowledged, each once in the index", len(l.acked))

	// What is no telemetry is not passed over, and nothing after it in its partition, before an operator says so.
	other := newCollector(t, "agent.yaml", map[string]any{
		"exporters": map[string]any{"kafka": map[string]any{"traces": map[string]any{"encoding": "otlp_json"}}},
	})
	other.env = append(other.env, address)
	other.start()
	require.NoError(t, other.client().Send(t.Context(), traces(newCall("u", "a question")), otlpclient.GRPC))
	other.stop()
	failed := func() (n int) {
		for _, c := range centrals {
			n += metricOf(t, c.metricsURL, "otelcol_kafka_receiver_unmarshal_failed_spans")
		}
		return n
	}
	require.Eventually(t, func() bool { return failed() > 0 }, followTimeout, 100*time.Millisecond, "the message was never read")
	after := make([]call, 60)
	for i := range after {
		after[i] = newCall("u", "a question")
	}
	require.NoError(t, agent.client().Send(t.Context(), traces(after...), otlpclient.GRPC))
	arrived := func() (n int) {
		inLedgers := map[string]bool{}
		for _, c := range centrals {
			for id := range c.entries() {
				inLedgers[id] = true
			}
		}
		for _, c := range after {
			if inLedgers[c.id()] {
				n++
			}
		}
		return n
	}
	require.Eventually(t, func() bool { return arrived() > 0 }, followTimeout, 100*time.Millisecond, "the other partitions stand still, too")
	require.Less(t, arrived(), len(after))
	for _, c := range centrals {
		c.stop()
		skip := map[string]any{"message_marking": map[string]any{"on_permanent_error": true}}
		c.configs = append(c.configs, c.writeYAML("skip.yaml", map[string]any{"receivers": map[string]any{"kafka/spans": skip}}))
		c.start()
	}
	require.Eventually(t, func() bool { return arrived() == len(after) }, followTimeout, 200*time.Millisecond, "not all came after the message was passed over")

	agent.stop()
	for _, c := range centrals {
		c.awaitFollowed()
		c.stop()
	}
	// The buckets, what the folders have that is not sealed yet, and the index.
	requireAllHold(t, centrals[0].elastic, centrals[1].elastic)
	told := map[string]bool{}
	for _, c := range centrals {
		for id := range c.entries() {
			told[id] = true
		}
		c.requireSealed(store)
	}
	for id := range l.acked {
		require.True(t, told[id], "call %s is in no ledger", id)
	}
}

// requireAllHold wants verify to find the ledger of each of the collectors good, and
// equal to the index that they share.
func requireAllHold(t *testing.T, centrals ...*elastic) {
	t.Helper()
	streams := make([][]string, len(centrals))
	for i, c := range centrals {
		streams[i] = streamsOf(t, c.collector)
		require.NotEmpty(t, streams[i])
	}
	for i, c := range centrals {
		args := []string{"verify", "--index"}
		for j, others := range streams {
			for _, s := range others {
				if j != i {
					args = append(args, "--elsewhere="+s)
				}
			}
		}
		result := c.cli(args...)
		require.Zero(t, result.code, "%s", result)
		require.Contains(t, result.stdout, "index         holds")
	}
}

// central is a collector behind Kafka whose ledger goes into locked buckets.
type central struct {
	*elastic
	name string
}

func newCentral(t *testing.T, name, url, prefix string, store *buckettest.Server) *central {
	t.Helper()
	settings := bucketStore(store, store.URL, "")
	ledger := settings["exporters"].(map[string]any)["audit_ledger"].(map[string]any)
	for _, s := range []string{"store", "content_store"} {
		at := ledger[s].(map[string]any)
		at["url"] = at["url"].(string) + "/" + name
	}
	ledger["segment"] = map[string]any{"max_age": "2s"}
	ledger["alive_interval"] = 0 // the test counts entries while it runs
	quick := map[string]any{"session_timeout": "6s", "heartbeat_interval": "1s"}
	settings["receivers"] = map[string]any{"kafka/spans": quick, "kafka/logs": quick}
	c := &central{newElastic(t, "central.yaml", url, prefix, settings), name}
	c.env = append(c.env, "CLAUDEAUDIT_NAME="+name)
	c.withoutOTLP()
	return c
}

// awaitPartitions waits until n partitions of both topics together are the
// collector's.
func (c *central) awaitPartitions(n int) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		return metricOf(c.t, c.metricsURL, "otelcol_kafka_receiver_partition_start")-metricOf(c.t, c.metricsURL, "otelcol_kafka_receiver_partition_close") == n
	}, startTimeout, 100*time.Millisecond, "%s never had %d partitions", c.name, n)
}

// metricOf is the sum of a metric's values.
func metricOf(t *testing.T, url, name string) (sum int) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if metric, value, ok := strings.Cut(line, " "); ok && (metric == name || strings.HasPrefix(metric, name+"{") || strings.HasPrefix(metric, name+"_total{")) {
			v, err := strconv.ParseFloat(value, 64)
			require.NoError(t, err)
			sum += int(v)
		}
	}
	return sum
}

// records are those of the index, also of what other collectors wrote.
func (c *elastic) records(args ...string) []record {
	c.t.Helper()
	got := c.cli(append([]string{"search", "--format", "json", "--limit", "0"}, args...)...)
	if got.code != 0 {
		return nil // there is no index yet
	}
	return decodeRecords(c.t, got.stdout)
}

// requireSealed wants the collector's buckets, with a public key and the
// witness's copies, to hold all that its ledger has.
func (c *central) requireSealed(store *buckettest.Server) {
	c.t.Helper()
	at := func(bucket string) string {
		return "s3://" + bucket + "/claude/" + c.name + "?region=us-east-1&endpoint=" + store.URL
	}
	var report struct {
		Integrity, Completeness string
		Entries, Contents       int
		Streams                 []struct{ Witnessed int }
	}
	require.NoError(c.t, json.Unmarshal([]byte(mustRun(c.t, "verify", at("records"), "--content-store", at("content"),
		"--public-key", filepath.Join(c.data, "keys", "checkpoint.pub"),
		"--checkpoints", filepath.Join(c.data, "witness", "checkpoints"), "--format", "json",
		"--unended-after", "100000h" /* the captures are old, and some are of calls that have no end */)), &report))
	require.Equal(c.t, "intact", report.Integrity)
	require.Equal(c.t, "complete", report.Completeness)
	require.Positive(c.t, report.Contents)
	entries := 0
	c.eachLine(func([]byte) { entries++ })
	require.Equal(c.t, entries, report.Entries)
	witnessed := 0
	for _, s := range report.Streams {
		witnessed += s.Witnessed
	}
	require.Equal(c.t, entries, witnessed)
}

// awaitFollowed waits until the index has all that the ledger has.
func (c *elastic) awaitFollowed() {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		got := c.cli("search", "--limit", "1")
		return got.code == 0 && !strings.Contains(got.stderr, "lacks") && !strings.Contains(got.stderr, "can't tell")
	}, followTimeout, 200*time.Millisecond, "the index never caught up with the ledger")
}

// spansIn counts the calls of the load in an index, by trace and span.
func spansIn(t *testing.T, server *estest.Server, prefix string) map[string]int {
	t.Helper()
	const page = 5000
	got := map[string]int{}
	var after any
	for {
		body := map[string]any{
			"size": page, "_source": []string{"trace_id", "span_id"}, "sort": []any{map[string]any{"event_id": "asc"}},
			"query": map[string]any{"term": map[string]any{"application_id": "e2e"}},
		}
		if after != nil {
			body["search_after"] = after
		}
		var answer struct {
			Hits struct {
				Hits []struct {
					Source struct {
						TraceID string `json:"trace_id"`
						SpanID  string `json:"span_id"`
					} `json:"_source"`
					Sort json.RawMessage `json:"sort"`
				} `json:"hits"`
			} `json:"hits"`
		}
		server.Do(t, http.MethodPost, "/"+prefix+"-*/_search", body, &answer)
		for _, h := range answer.Hits.Hits {
			got[h.Source.TraceID+":"+h.Source.SpanID]++
			after = h.Sort
		}
		if len(answer.Hits.Hits) < page {
			return got
		}
	}
}

func streamsOf(t *testing.T, c *collector) []string {
	t.Helper()
	r, err := ledger.OpenReader(filepath.Join(c.data, "ledger"))
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	streams, err := r.Streams()
	require.NoError(t, err)
	return streams
}

// withoutOTLP takes the receiver out of the test's ports that the configuration
// does not have.
func (c *elastic) withoutOTLP() {
	c.t.Helper()
	ports := c.configs[1]
	text, err := os.ReadFile(ports)
	require.NoError(c.t, err)
	lines := strings.Split(string(text), "\n")
	i := slices.Index(lines, "receivers:")
	require.GreaterOrEqual(c.t, i, 0)
	end := i + 1
	for end < len(lines) && strings.HasPrefix(lines[end], " ") {
		end++
	}
	require.NoError(c.t, os.WriteFile(ports, []byte(strings.Join(slices.Delete(lines, i, end), "\n")), 0o600))
}
