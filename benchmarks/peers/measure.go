// What the peers in Go share: each workload is measured in turn, again and again, and told as Google Benchmark tells it in JSON, for scripts/bench_report.py.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"time"
)

// A workload: the name that it has in penstock's program, its size, and what runs so much of it and says how long that took.
type workload struct {
	name string
	n    int
	run  func(n int) time.Duration
}

type benchmark struct {
	Name     string  `json:"name"`
	RunName  string  `json:"run_name"`
	RunType  string  `json:"run_type"`
	RealTime float64 `json:"real_time"`
	TimeUnit string  `json:"time_unit"`
	Items    float64 `json:"items_per_second"`
}

// Those whose name the second argument matches, as often as the first one says.
func measure(workloads []workload) {
	repetitions, filter := 5, "."
	if len(os.Args) > 1 {
		repetitions, _ = strconv.Atoi(os.Args[1])
	}
	if len(os.Args) > 2 {
		filter = os.Args[2]
	}
	wanted := regexp.MustCompile(filter)
	told := struct {
		Benchmarks []benchmark `json:"benchmarks"`
	}{[]benchmark{}}
	for r := 0; r < repetitions; r++ {
		for _, w := range workloads {
			if !wanted.MatchString(w.name) {
				continue
			}
			w.run(w.n / 10)
			ns := float64(w.run(w.n).Nanoseconds()) / float64(w.n)
			told.Benchmarks = append(told.Benchmarks, benchmark{w.name, w.name, "iteration", ns, "ns", 1e9 / ns})
		}
	}
	text, _ := json.MarshalIndent(told, "", "  ")
	fmt.Println(string(text))
}
