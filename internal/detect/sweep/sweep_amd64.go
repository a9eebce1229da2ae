package sweep

import "golang.org/x/sys/cpu"

var vectors = cpu.X86.HasAVX2

// blocks fills dst from data, which has ahead bytes beyond the last block.
func blocks(dst []Block, data []byte, table *Table) {
	if len(dst) == 0 {
		return
	}
	if !vectors {
		portable(dst, data, table)
		return
	}
	_ = data[len(dst)*Size+ahead-1]
	blocksAVX2(&dst[0], &data[0], len(dst), table)
}

//go:noescape
func blocksAVX2(dst *Block, data *byte, n int, table *Table)
