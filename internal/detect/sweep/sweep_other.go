//go:build !amd64

package sweep

var vectors = false

// blocks fills dst from data, which has ahead bytes beyond the last block.
func blocks(dst []Block, data []byte, table *Table) { portable(dst, data, table) }
