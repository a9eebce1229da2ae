package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/claudeaudit/claudeaudit/internal/aggregate"
	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/retention"
	"github.com/claudeaudit/claudeaudit/internal/seal"
	"github.com/claudeaudit/claudeaudit/internal/stamp"
	"github.com/claudeaudit/claudeaudit/internal/witness"
)

type witnessOptions struct {
	dir, keys, listen string
	logs              []string
	cert, certKey     string
	store, class, max string
	timestampURL      string
}

func (a *app) newWitness() *cobra.Command {
	var o witnessOptions
	cmd := &cobra.Command{
		Use:   "witness",
		Short: "Cosign checkpoints of ledgers that only grow",
		Long: `Run a witness: a service that cosigns the checkpoints of ledgers, and refuses one
that is not an extension of what it cosigned before. Whoever has a ledger's key
and its store can't rewrite it then without the witness's key, so run it on
another machine, under another identity, with its own keys and its own store.

It speaks the C2SP tlog-witness protocol under /add-checkpoint. Every checkpoint
that it cosigns becomes an entry of its own ledger, the aggregate of all
streams, which "claudeaudit verify" checks like any other, and which
"claudeaudit verify --aggregate" holds a ledger against.

With --timestamp-url an authority puts an RFC 3161 time stamp on the aggregate's
root once a day; it is kept beside the checkpoints, and "claudeaudit verify
--policy" checks it offline. The witness never waits for the authority.

The keys are made by "claudeaudit keygen --only witness": witness.key cosigns,
checkpoint.key signs the aggregate. --log names the ledgers' checkpoint keys.`,
		Example: `  claudeaudit keygen --only witness --name witness.example.com --dir /etc/claudeaudit-witness
  claudeaudit witness --keys /etc/claudeaudit-witness --log frankfurt.pub --dir /var/lib/claudeaudit-witness --listen 0.0.0.0:8790 --tls-cert cert.pem --tls-key key.pem`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.witness(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "dir", "./witness-data/ledger", "`folder` of the aggregate")
	f.StringVar(&o.keys, "keys", "", "`folder` with witness.key and checkpoint.key (default: keys beside --dir)")
	f.StringVar(&o.listen, "listen", "127.0.0.1:8790", "`address` to listen on")
	f.StringArrayVar(&o.logs, "log", nil, "`file` with verifier keys of the ledgers to cosign for, or the text of one; may be repeated")
	f.StringVar(&o.cert, "tls-cert", "", "`file` with the certificate, to serve HTTPS")
	f.StringVar(&o.certKey, "tls-key", "", "`file` with the certificate's key")
	f.StringVar(&o.store, "store", "", "`URL` of a bucket for the aggregate, by default a folder in --dir")
	f.StringVar(&o.class, "retention", "", "retention `class` of what goes to the bucket; required with --store")
	f.StringVar(&o.timestampURL, "timestamp-url", "", "`address` of an RFC 3161 time stamping authority")
	f.StringVar(&o.max, "max-retention", "", "longest `period` that is allowed (default "+retention.DefaultMax+")")
	return cmd
}

func (a *app) witness(ctx context.Context, o witnessOptions) (err error) {
	if o.keys == "" {
		o.keys = filepath.Join(filepath.Dir(filepath.Clean(o.dir)), "keys")
	}
	if len(o.logs) == 0 {
		return errors.New("--log: must name the checkpoint key of at least one ledger")
	}
	if (o.cert == "") != (o.certKey == "") {
		return errors.New("--tls-cert and --tls-key must be given together")
	}
	var stamps *stamp.Client
	if o.timestampURL != "" {
		if stamps, err = stamp.NewClient(o.timestampURL, stampTimeout); err != nil {
			return fmt.Errorf("--timestamp-url: %w", err)
		}
	}
	logs, _, err := loadPublicKeys(o.logs)
	if err != nil {
		return fmt.Errorf("--log: %w", err)
	}
	signer, err := seal.OpenCosigner(filepath.Join(o.keys, "witness.key"), filepath.Join(o.keys, "witness.pub"))
	if err != nil {
		return err
	}
	own, err := seal.LoadCheckpointKey(filepath.Join(o.keys, "checkpoint.key"))
	if err != nil {
		return err
	}
	logger := zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(a.err), zap.InfoLevel))
	opts := ledger.Options{Dir: o.dir, Signer: own.Signer, VerifierKey: own.VerifierKey, Logger: logger}
	closeStore := func() error { return nil }
	if o.store != "" {
		if closeStore, err = o.openStore(ctx, &opts); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, closeStore()) }()
	state, err := aggregate.Open(ctx, opts)
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		err = errors.Join(err, state.Close(end))
	}()
	srv, err := witness.NewServer(signer, logs, state, func(event string, c witness.Checkpoint, err error) {
		fields := []zap.Field{zap.String("origin", c.Origin), zap.Uint64("size", c.Size)}
		if event == "cosigned" {
			logger.Info("cosigned", fields...)
			return
		}
		logger.Warn("refused: "+event, append(fields, zap.Error(err))...)
	})
	if err != nil {
		return err
	}
	if stamps != nil {
		stamping, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			stampDaily(stamping, state, stamps, logger, stampPause)
		}()
		defer func() {
			stop()
			<-done
			err = errors.Join(err, stamps.Close())
		}()
	}
	return a.serveWitness(ctx, o, srv, signer.String())
}

const (
	stampTimeout = 30 * time.Second
	// stampPause is between looks for something to stamp, and after a failure.
	stampPause = 10 * time.Minute
)

// stampDaily gets a time stamp a day until ctx ends. What fails is tried again.
func stampDaily(ctx context.Context, state *aggregate.Log, c *stamp.Client, logger *zap.Logger, pause time.Duration) {
	for {
		call, cancel := context.WithTimeout(ctx, 2*stampTimeout)
		cp, ok, err := state.Stamp(call, c.Stamp)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			logger.Error("no time stamp of the aggregate; it is tried again", zap.Error(err))
		case ok:
			logger.Info("time stamp stored", zap.String("origin", cp.Origin), zap.Uint64("size", cp.Size))
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

func (o *witnessOptions) openStore(ctx context.Context, opts *ledger.Options) (closeStore func() error, err error) {
	policy, err := retention.Of(o.class, o.max)
	if err != nil {
		return nil, fmt.Errorf("--retention: %w", err)
	}
	s, err := bucket.Open(ctx, bucket.Config{URL: o.store})
	if err != nil {
		return nil, fmt.Errorf("--store: %w", err)
	}
	p := bucket.Probed(s, func(r bucket.Report) {
		opts.Logger.Info("store probed", zap.String("store", r.Store), zap.String("lock", r.Lock))
	})
	if err := p.Probe(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("--store: %w", err), s.Close())
	}
	opts.Store = &ledger.Stores{Records: p, Copy: bucket.NewLocal(filepath.Join(opts.Dir, "store"))}
	opts.Retention = policy.Until
	return s.Close, nil
}

// serveWitness serves until ctx ends.
func (a *app) serveWitness(ctx context.Context, o witnessOptions, h http.Handler, key string) error {
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
	}
	scheme := "http"
	if o.cert != "" {
		scheme = "https"
	}
	fmt.Fprintf(a.out, "witness %s://%s\n%s\n", scheme, l.Addr(), key)
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		stopped <- srv.Shutdown(end)
	}()
	if o.cert != "" {
		err = srv.ServeTLS(l, o.cert, o.certKey)
	} else {
		err = srv.Serve(l)
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}
