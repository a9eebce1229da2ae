package jcs

import (
	"fmt"
	"math"
)

// Elements reads a JSON text that is an object, strictly, and calls each for the elements of the array that its member key is,
// in turn, with their text. An element is good until each returns: of a text of any length there is one in memory. The
// limits hold for each element, and for the rest. An error of each ends it and is returned as it is; others are those of
// ParseStrict. A member that is no array has no elements.
func (p *Parser) Elements(s, key string, lim Limits, each func(text string, v Value) error) error {
	if len(s) > math.MaxInt32 {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, len(s))
	}
	defer p.Reset()
	depth, nodes := lim.MaxDepth, min(lim.MaxNodes, math.MaxInt32)
	if depth <= 0 {
		depth = DefaultLimits.MaxDepth
	}
	if nodes <= 0 {
		nodes = DefaultLimits.MaxNodes
	}
	p.s, p.i, p.depth, p.nodes, p.strict = s, 0, depth, nodes, true
	if p.peek() != '{' {
		return p.fail(ErrInvalid, "no object")
	}
	seen := map[string]bool{}
	rest := nodes
	member := func() error {
		if p.peek() != '"' {
			return p.fail(ErrInvalid, "no key")
		}
		k, err := p.key()
		if err != nil {
			return err
		}
		if seen[k] {
			return p.fail(ErrDuplicateKey, "in the object")
		}
		seen[k] = true
		if p.peek() != ':' {
			return p.fail(ErrInvalid, "no colon after key")
		}
		p.i++
		if k != key || p.peek() != '[' {
			p.nodes = rest
			_, err := p.value()
			rest = p.nodes
			p.restart()
			return err
		}
		return p.list(']', func() error {
			p.peek()
			from := p.i
			p.nodes = nodes
			v, err := p.value()
			if err == nil {
				err = each(s[from:p.i], v)
			}
			p.restart()
			return err
		})
	}
	if err := p.list('}', member); err != nil {
		return err
	}
	if p.space(); p.i < len(s) {
		return p.fail(ErrInvalid, "text after the value")
	}
	return nil
}

// restart takes back the memory of what was read, and goes on in the text.
func (p *Parser) restart() {
	s := p.s
	p.Reset()
	p.s = s
}

// list reads what stands between two brackets, of which the first comes next, with commas between.
func (p *Parser) list(end byte, item func() error) error {
	if err := p.enter(); err != nil {
		return err
	}
	defer func() { p.depth++ }()
	if p.peek() == end {
		p.i++
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		switch p.peek() {
		case ',':
			p.i++
		case end:
			p.i++
			return nil
		default:
			return p.fail(ErrInvalid, "neither comma nor end")
		}
	}
}
