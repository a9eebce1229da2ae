// Package bench measures the processor against what a collector does the same
// work with out of the box. It is a module of its own, so that the stock
// processors are not dependencies of the product. `make bench` runs it.
package bench
