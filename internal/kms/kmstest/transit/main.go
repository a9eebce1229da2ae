// Command transit serves the transit engine of HashiCorp Vault, its own code, in
// memory, with one token: what the tests of internal/kms can be run against
// where no Vault or OpenBao is at hand. Mounts, tokens and policies, which are
// of Vault's core, are not in it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/sdk/logical"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: transit LISTEN-ADDRESS TOKEN")
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(listen, token string) error {
	store := &logical.InmemStorage{}
	engine, err := transit.Factory(context.Background(), &logical.BackendConfig{
		StorageView: store, Logger: hclog.NewNullLogger(), System: logical.TestSystemView(), Config: map[string]string{},
	})
	if err != nil {
		return err
	}
	if err := engine.Initialize(context.Background(), &logical.InitializationRequest{Storage: store}); err != nil {
		return err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", l.Addr())
	srv := &http.Server{Handler: handler(engine, store, token), ReadHeaderTimeout: 10 * time.Second}
	return srv.Serve(l)
}

func handler(engine logical.Backend, store logical.Storage, token string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		fail := func(status int, text ...string) { answer(w, status, map[string]any{"errors": text}) }
		path, ok := strings.CutPrefix(r.URL.Path, "/v1/transit/")
		switch {
		case r.Header.Get("X-Vault-Token") != token:
			fail(http.StatusForbidden, "permission denied")
			return
		case !ok:
			fail(http.StatusNotFound)
			return
		}
		req := &logical.Request{Operation: logical.ReadOperation, Path: path, Storage: store, Data: map[string]any{}}
		if r.Method != http.MethodGet {
			req.Operation = logical.UpdateOperation
			if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&req.Data); err != nil {
				fail(http.StatusBadRequest, err.Error())
				return
			}
		}
		resp, err := engine.HandleRequest(r.Context(), req)
		switch {
		case resp != nil && resp.IsError():
			fail(http.StatusBadRequest, resp.Error().Error())
		case errors.Is(err, logical.ErrUnsupportedPath):
			fail(http.StatusNotFound)
		case err != nil:
			fail(http.StatusInternalServerError, err.Error())
		case resp == nil && r.Method == http.MethodGet:
			fail(http.StatusNotFound)
		case resp == nil:
			w.WriteHeader(http.StatusNoContent)
		default:
			answer(w, http.StatusOK, map[string]any{"data": resp.Data})
		}
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that went away
}
