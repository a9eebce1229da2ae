package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/claudeaudit/claudeaudit/internal/detect/injection"
)

type row struct {
	ID, Text, Source, Subtype string
	Labels                    []string
	Soft                      bool
}

func load(p string) (out []row) {
	f, err := os.Open(p)
	if err != nil {
		panic(err)
	}
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		var r row
		if err := json.Unmarshal(sc.Bytes(), &r); err != nil {
			panic(err)
		}
		out = append(out, r)
	}
	return
}

func main() {
	dir := "/work/shared/detection/"
	show := ""
	if len(os.Args) > 1 {
		show = os.Args[1]
	}
	type key struct {
		src string
		att bool
	}
	n, hit := map[key]int{}, map[key]int{}
	sub, subhit := map[string]int{}, map[string]int{}
	for _, f := range []string{"injection", "benign"} {
		for _, r := range load(dir + f + ".jsonl") {
			att := len(r.Labels) > 0 && r.Labels[0] == "attack"
			origin := injection.User
			if strings.Contains(r.Source, "BIPIA") {
				origin = injection.Tool
			}
			in := injection.Inspect(r.Text, injection.Match(r.Text), origin, injection.Match)
			fs := in.Findings
			k := key{r.Source, att}
			if r.Soft {
				k.src += " soft"
			}
			n[k]++
			sub[r.Subtype]++
			if len(fs) > 0 {
				hit[k]++
				subhit[r.Subtype]++
			}
			if show == "fn" && att && len(fs) == 0 && !r.Soft || show == "fp" && !att && len(fs) > 0 {
				t := r.Text
				if len(t) > 400 {
					t = t[:400]
				}
				fmt.Printf("%s|%s|%q\n   %v\n", r.Source[:8], r.Subtype, t, injection.Explain(r.Text, injection.Match(r.Text), origin))
				fmt.Println("    ", in.Obfuscation)
				for _, x := range fs {
					fmt.Printf("    >> %s %.2f %v %q\n", x.Flag, x.Score, x.Signals, r.Text[max(0, x.Start-60):min(len(r.Text), x.End+60)])
				}
			}
		}
	}
	var ks []key
	for k := range n {
		ks = append(ks, k)
	}
	sort.Slice(ks, func(i, j int) bool { return ks[i].src < ks[j].src })
	tp, fp, p, ng := 0, 0, 0, 0
	for _, k := range ks {
		fmt.Printf("%-70s att=%v %d/%d\n", k.src, k.att, hit[k], n[k])
		if strings.HasSuffix(k.src, " soft") {
			continue
		}
		if k.att {
			tp += hit[k]
			p += n[k]
		} else {
			fp += hit[k]
			ng += n[k]
		}
	}
	fmt.Printf("P %.3f R %.3f FPR %.4f (%d)\n", float64(tp)/float64(tp+fp), float64(tp)/float64(p), float64(fp)/float64(ng), fp)
	if show == "sub" {
		for k, v := range sub {
			fmt.Println(k, subhit[k], v)
		}
	}
}
