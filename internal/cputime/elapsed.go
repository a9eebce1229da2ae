package cputime

import "time"

var start = time.Now()

func elapsed() time.Duration { return time.Since(start) }
