// Package e2e tests the built programs as a user has them: the distribution
// started from a file of config/, sent to over OTLP, killed and started again,
// and read with the claudeaudit command. It needs `make build`; without it the
// tests are skipped, or fail when CLAUDEAUDIT_E2E=required.
package e2e
