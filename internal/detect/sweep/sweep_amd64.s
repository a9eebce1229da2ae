#include "textflag.h"

// Classes of bytes are products of sets of their halves: bit k of a byte's class
// is that of lowHalf and of highHalf. From bit 7 down: digits, letters to o,
// letters from p, @, escapes % and &, + - and /, . and -.
DATA lowHalf<>+0(SB)/8, $0xe0e8e8e0e0e0e0b0
DATA lowHalf<>+8(SB)/8, $0x444246404460e0e0
DATA lowHalf<>+16(SB)/8, $0xe0e8e8e0e0e0e0b0
DATA lowHalf<>+24(SB)/8, $0x444246404460e0e0
GLOBL lowHalf<>(SB), RODATA|NOPTR, $32

DATA highHalf<>+0(SB)/8, $0x20402050800e0000
DATA highHalf<>+8(SB)/8, $0x0000000000000000
DATA highHalf<>+16(SB)/8, $0x20402050800e0000
DATA highHalf<>+24(SB)/8, $0x0000000000000000
GLOBL highHalf<>(SB), RODATA|NOPTR, $32

// Four bytes from each of eight positions.
DATA spread<>+0(SB)/8, $0x0403020103020100
DATA spread<>+8(SB)/8, $0x0605040305040302
DATA spread<>+16(SB)/8, $0x0807060507060504
DATA spread<>+24(SB)/8, $0x0a09080709080706
GLOBL spread<>(SB), RODATA|NOPTR, $32

DATA bit5<>+0(SB)/8, $0x2020202020202020
GLOBL bit5<>(SB), RODATA|NOPTR, $8
DATA half<>+0(SB)/8, $0x0f0f0f0f0f0f0f0f
GLOBL half<>(SB), RODATA|NOPTR, $8
DATA factor<>+0(SB)/8, $0x9e3779b19e3779b1
GLOBL factor<>(SB), RODATA|NOPTR, $8
DATA equals<>+0(SB)/8, $0x3d3d3d3d3d3d3d3d
GLOBL equals<>(SB), RODATA|NOPTR, $8
DATA underscore<>+0(SB)/8, $0x5f5f5f5f5f5f5f5f
GLOBL underscore<>(SB), RODATA|NOPTR, $8
DATA backslash<>+0(SB)/8, $0x5c5c5c5c5c5c5c5c
GLOBL backslash<>(SB), RODATA|NOPTR, $8

// HALF classes 32 bytes at off(SI): R8 digits, R9 letters, R10 high, R11 at,
// R12 escapes, R13 extra, R15 dots.
#define HALF(off) \
	VMOVDQU off(SI), Y0            \
	VPMOVMSKB Y0, R10              \
	VPSRLW  $4, Y0, Y1             \
	VPAND   Y10, Y1, Y1            \
	VPSHUFB Y0, Y8, Y2             \
	VPSHUFB Y1, Y9, Y1             \
	VPAND   Y1, Y2, Y1             \
	VPMOVMSKB Y1, R8               \
	VPADDB  Y1, Y1, Y1             \
	VPMOVMSKB Y1, R9               \
	VPADDB  Y1, Y1, Y1             \
	VPMOVMSKB Y1, AX               \
	ORL     AX, R9                 \
	VPADDB  Y1, Y1, Y1             \
	VPMOVMSKB Y1, R11              \
	VPADDB  Y1, Y1, Y1             \
	VPCMPEQB Y0, Y15, Y2           \
	VPOR    Y1, Y2, Y2             \
	VPMOVMSKB Y2, R12              \
	VPADDB  Y1, Y1, Y1             \
	VPCMPEQB Y0, Y13, Y2           \
	VPCMPEQB Y0, Y14, Y3           \
	VPOR    Y2, Y3, Y3             \
	VPOR    Y1, Y3, Y3             \
	VPMOVMSKB Y3, R13              \
	VPADDB  Y1, Y1, Y1             \
	VPMOVMSKB Y1, R15

// TEST shifts into mask whether the table lacks the gram whose hash is at
// off(SP).
#define TEST(off, mask) \
	MOVL off(SP), AX               \
	CMPB (DX)(AX*1), $1            \
	ADCL mask, mask

// HASH writes the hashes of the grams at the eight positions from off(SI) to
// to(SP).
#define HASH(off, to) \
	VBROADCASTI128 off(SI), Y4     \
	VPOR    Y11, Y4, Y4            \
	VPSHUFB Y12, Y4, Y4            \
	VPMULLD Y7, Y4, Y4             \
	VPSRLD  $14, Y4, Y4            \
	VMOVDQU Y4, to(SP)

// GRAMS does eight positions of each half of the block, the last first.
#define GRAMS(off) \
	HASH(off, 0)                   \
	HASH(32+off, 32)               \
	TEST(28, BX)                   \
	TEST(60, R14)                  \
	TEST(24, BX)                   \
	TEST(56, R14)                  \
	TEST(20, BX)                   \
	TEST(52, R14)                  \
	TEST(16, BX)                   \
	TEST(48, R14)                  \
	TEST(12, BX)                   \
	TEST(44, R14)                  \
	TEST(8, BX)                    \
	TEST(40, R14)                  \
	TEST(4, BX)                    \
	TEST(36, R14)                  \
	TEST(0, BX)                    \
	TEST(32, R14)

// func blocksAVX2(dst *Block, data *byte, n int, table *Table)
TEXT ·blocksAVX2(SB), NOSPLIT, $64-32
	MOVQ dst+0(FP), DI
	MOVQ data+8(FP), SI
	MOVQ n+16(FP), CX
	MOVQ table+24(FP), DX
	VMOVDQU lowHalf<>(SB), Y8
	VMOVDQU highHalf<>(SB), Y9
	VPBROADCASTQ half<>(SB), Y10
	VPBROADCASTQ bit5<>(SB), Y11
	VMOVDQU spread<>(SB), Y12
	VPBROADCASTQ equals<>(SB), Y13
	VPBROADCASTQ underscore<>(SB), Y14
	VPBROADCASTQ backslash<>(SB), Y15
	VPBROADCASTQ factor<>(SB), Y7

loop:
	HALF(0)
	MOVL R8, 0(DI)
	MOVL R9, 8(DI)
	MOVL R10, 16(DI)
	MOVL R11, 24(DI)
	MOVL R12, 32(DI)
	MOVL R13, 40(DI)
	MOVL R15, 48(DI)
	HALF(32)
	MOVL R8, 4(DI)
	MOVL R9, 12(DI)
	MOVL R10, 20(DI)
	MOVL R11, 28(DI)
	MOVL R12, 36(DI)
	MOVL R13, 44(DI)
	MOVL R15, 52(DI)
	XORL BX, BX
	XORL R14, R14
	GRAMS(24)
	GRAMS(16)
	GRAMS(8)
	GRAMS(0)
	NOTL BX
	NOTL R14
	MOVL BX, 56(DI)
	MOVL R14, 60(DI)
	ADDQ $64, SI
	ADDQ $64, DI
	DECQ CX
	JNZ  loop
	VZEROUPPER
	RET
