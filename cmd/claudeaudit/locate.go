package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch"
	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch/esclient"
	"github.com/claudeaudit/claudeaudit/internal/indexer"
)

const (
	defaultData = "./audit-data"
	dataEnv     = "CLAUDEAUDIT_DATA"
	// maxConfig bounds the size of a configuration file.
	maxConfig = 4 << 20
)

// location says where things are.
type location struct {
	data, config string
	// elastic asks for the index in Elasticsearch where a configuration has both.
	elastic bool
}

func (l *location) flags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&l.data, "data", "", "data `folder` (default $"+dataEnv+" or "+defaultData+")")
	f.StringVar(&l.config, "config", "", "collector configuration `file` to take the places of ledger and index from")
	f.BoolVar(&l.elastic, "elasticsearch", false, "use the index in Elasticsearch, where --config has that and one in SQLite")
	root.MarkFlagsMutuallyExclusive("data", "config")
	root.MarkFlagsMutuallyExclusive("data", "elasticsearch")
	complete(root.MarkPersistentFlagDirname("data"))
	complete(root.MarkPersistentFlagFilename("config", "yaml", "yml"))
}

// complete takes the error of registering a completion, which can only be that
// the flag isn't there: a mistake in this program.
func complete(err error) {
	if err != nil {
		panic(err)
	}
}

// places are the files of one audit trail.
type places struct {
	ledger  string // folder
	index   string // database file, "" when elastic is set
	elastic *elasticConfig
	keys    string // folder
	subject string // store of the subjects' keys: an address
	admin   string // data folder of the ledger of holds and erasures
	witness []string
	policy  string // folder of what policies of the gateway remember, "" where there are several gateways
	// retentionDays of the index, 0 keeps records.
	retentionDays int
}

func (l *location) find(ctx context.Context) (places, error) {
	if l.elastic && l.config == "" {
		return places{}, errors.New("--elasticsearch: --config must name the configuration that says where it is")
	}
	if l.config != "" {
		p, err := placesOfConfig(ctx, l.config, l.elastic)
		if err != nil {
			return p, fmt.Errorf("--config %s: %w", l.config, err)
		}
		return p, nil
	}
	data := l.data
	if data == "" {
		data = os.Getenv(dataEnv)
	}
	if data == "" {
		data = defaultData
	}
	return placesBeside(filepath.Join(data, "ledger"), filepath.Join(data, "index", "audit.db")), nil
}

// placesBeside are the places that the collector's components take by default
// when the ledger is in a folder.
func placesBeside(ledger, index string) places {
	data := filepath.Dir(filepath.Clean(ledger))
	return places{
		ledger: ledger, index: index, keys: filepath.Join(data, "keys"), subject: filepath.Join(data, "subject-keys"), admin: indexer.AdminFolder(ledger),
		witness: []string{filepath.Join(data, "witness", "checkpoints")}, policy: filepath.Join(data, "policy"),
	}
}

// ledgerConfig and sqliteConfig are the keys of the exporters that tell places.
type ledgerConfig struct {
	Directory string `mapstructure:"directory"`
	Keys      struct {
		Directory string        `mapstructure:"directory"`
		Subjects  bucket.Config `mapstructure:"subjects"`
	} `mapstructure:"keys"`
	Witness struct {
		Files []string `mapstructure:"files"`
	} `mapstructure:"witness"`
}

// gatewayConfig are the keys of the claude_gateway that tell places.
type gatewayConfig struct {
	Policy struct {
		Directory string `mapstructure:"directory"`
	} `mapstructure:"policy"`
}

type sqliteConfig struct {
	Path          string `mapstructure:"path"`
	Ledger        string `mapstructure:"ledger"`
	Admin         string `mapstructure:"admin"`
	RetentionDays int    `mapstructure:"retention_days"`
}

// elasticConfig are the keys of audit_elasticsearch that the command needs.
type elasticConfig struct {
	Client esclient.Config `mapstructure:",squash"`
	Ledger string          `mapstructure:"ledger"`
	Admin  string          `mapstructure:"admin"`
	Index  struct {
		Prefix         string `mapstructure:"prefix"`
		Replicas       *int   `mapstructure:"replicas"`
		ManageTemplate bool   `mapstructure:"manage_template"`
	} `mapstructure:"index"`
	RetentionDays int `mapstructure:"retention_days"`
}

// placesOfConfig reads a collector configuration as the collector does. Paths
// that are relative are relative to the working folder, as they are there.
func placesOfConfig(ctx context.Context, file string, elastic bool) (places, error) {
	resolver, err := confmap.NewResolver(confmap.ResolverSettings{
		URIs:              []string{"file:" + file},
		ProviderFactories: []confmap.ProviderFactory{confmap.NewProviderFactory(newFileProvider), confmap.NewProviderFactory(newEnvProvider)},
		DefaultScheme:     "env",
	})
	if err != nil {
		return places{}, err
	}
	conf, err := resolver.Resolve(ctx)
	if err != nil {
		return places{}, err
	}
	lc := ledgerConfig{Directory: filepath.Join(defaultData, "ledger")}
	hasLedger, err := readComponent(conf, "exporters", "audit_ledger", &lc)
	if err != nil {
		return places{}, err
	}
	sc := sqliteConfig{Path: filepath.Join(defaultData, "index", "audit.db"), Ledger: lc.Directory}
	hasIndex, err := readComponent(conf, "exporters", "audit_sqlite", &sc)
	if err != nil {
		return places{}, err
	}
	ec := elasticConfig{Client: esclient.Default(), Ledger: lc.Directory}
	ec.Client.ClientConfig.Endpoint = "http://127.0.0.1:9200"
	ec.Index.Prefix, ec.Index.ManageTemplate = elasticsearch.DefaultPrefix, true
	hasElastic, err := readComponent(conf, "exporters", "audit_elasticsearch", &ec)
	if err != nil {
		return places{}, err
	}
	var gc gatewayConfig
	_, gatewayErr := readComponent(conf, "receivers", "claude_gateway", &gc)
	if gatewayErr != nil && !errors.Is(gatewayErr, errSeveral) {
		return places{}, gatewayErr
	}
	switch {
	case !hasLedger && !hasIndex && !hasElastic:
		return places{}, errors.New("it has no audit_ledger, audit_sqlite or audit_elasticsearch exporter")
	case elastic && !hasElastic:
		return places{}, errors.New("--elasticsearch: it has no audit_elasticsearch exporter")
	case !hasLedger && hasIndex && !elastic:
		lc.Directory = sc.Ledger
	case !hasLedger && hasElastic:
		lc.Directory = ec.Ledger
	}
	p := placesBeside(lc.Directory, databaseFile(sc.Path))
	if lc.Keys.Directory != "" {
		p.keys = lc.Keys.Directory
	}
	if lc.Keys.Subjects.URL != "" {
		p.subject = lc.Keys.Subjects.Address()
	}
	if len(lc.Witness.Files) > 0 {
		p.witness = lc.Witness.Files
	}
	if gatewayErr != nil {
		p.policy = ""
	} else if gc.Policy.Directory != "" {
		p.policy = gc.Policy.Directory
	}
	p.retentionDays = sc.RetentionDays
	p.admin = cmp.Or(sc.Admin, ec.Admin, p.admin)
	if hasElastic && (elastic || !hasIndex) {
		if err := confmap.Validate(&ec.Client); err != nil {
			return places{}, fmt.Errorf("audit_elasticsearch: %w", err)
		}
		p.index, p.elastic, p.retentionDays = "", &ec, ec.RetentionDays
		p.admin = cmp.Or(ec.Admin, p.admin)
	}
	return p, nil
}

// databaseFile is the file that audit_sqlite makes of its path.
func databaseFile(path string) string {
	if strings.HasSuffix(path, "/") || strings.HasSuffix(path, string(os.PathSeparator)) {
		return filepath.Join(path, "audit.db")
	}
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return filepath.Join(path, "audit.db")
	}
	return path
}

var errSeveral = errors.New("it has several")

// readComponent reads the configuration of the one component of a type, of a class such as exporters, into cfg.
func readComponent(conf *confmap.Conf, class, kind string, cfg any) (bool, error) {
	components, err := conf.Sub(class)
	if err != nil {
		return false, fmt.Errorf("%s: %w", class, err)
	}
	var ids []string
	for key := range components.ToStringMap() {
		var id component.ID
		if err := id.UnmarshalText([]byte(key)); err == nil && id.Type().String() == kind {
			ids = append(ids, key)
		}
	}
	slices.Sort(ids)
	switch len(ids) {
	case 0:
		return false, nil
	case 1:
	default:
		return false, fmt.Errorf("%w %s %s (%s): name the data folder with --data", errSeveral, kind, class, strings.Join(ids, ", "))
	}
	sub, err := components.Sub(ids[0])
	if err != nil {
		return false, fmt.Errorf("%s::%s: %w", class, ids[0], err)
	}
	if err := sub.Unmarshal(cfg, confmap.WithIgnoreUnused()); err != nil {
		return false, fmt.Errorf("%s::%s: %w", class, ids[0], err)
	}
	return true, nil
}

// fileProvider and envProvider are the two places that a local configuration
// takes values from.
type fileProvider struct{}

func newFileProvider(confmap.ProviderSettings) confmap.Provider { return fileProvider{} }

func (fileProvider) Retrieve(_ context.Context, uri string, _ confmap.WatcherFunc) (*confmap.Retrieved, error) {
	f, err := os.Open(filepath.Clean(strings.TrimPrefix(uri, "file:")))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxConfig {
		return nil, fmt.Errorf("the file is larger than %d bytes", maxConfig)
	}
	return confmap.NewRetrievedFromYAML(b)
}

func (fileProvider) Scheme() string                 { return "file" }
func (fileProvider) Shutdown(context.Context) error { return nil }

type envProvider struct{}

func newEnvProvider(confmap.ProviderSettings) confmap.Provider { return envProvider{} }

func (envProvider) Retrieve(_ context.Context, uri string, _ confmap.WatcherFunc) (*confmap.Retrieved, error) {
	name, fallback, has := strings.Cut(strings.TrimPrefix(uri, "env:"), ":-")
	value, set := os.LookupEnv(name)
	if has && (!set || value == "") {
		value = fallback
	}
	return confmap.NewRetrievedFromYAML([]byte(value))
}

func (envProvider) Scheme() string                 { return "env" }
func (envProvider) Shutdown(context.Context) error { return nil }
