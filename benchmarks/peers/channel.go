// Go's channel under the workloads of channel_bench.cpp. Prints what Google Benchmark prints as JSON, for scripts/bench_report.py.
//
//	go run benchmarks/peers/channel.go [repetitions]
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
)

const places = 1024

type benchmark struct {
	Name     string  `json:"name"`
	RunName  string  `json:"run_name"`
	RunType  string  `json:"run_type"`
	RealTime float64 `json:"real_time"`
	TimeUnit string  `json:"time_unit"`
	Items    float64 `json:"items_per_second"`
}

func pair(n int) time.Duration {
	c := make(chan uint64, places)
	begin := time.Now()
	for i := 0; i < n; i++ {
		c <- uint64(i)
		<-c
	}
	return time.Since(begin)
}

func sides(side, n int) time.Duration {
	c := make(chan uint64, places)
	var all sync.WaitGroup
	begin := time.Now()
	for t := 0; t < side; t++ {
		all.Add(2)
		go func() {
			defer all.Done()
			for i := 0; i < n/side; i++ {
				c <- uint64(i)
			}
		}()
		go func() {
			defer all.Done()
			sum := uint64(0)
			for i := 0; i < n/side; i++ {
				sum += <-c
			}
			_ = sum
		}()
	}
	all.Wait()
	return time.Since(begin)
}

func pingPong(n int) time.Duration {
	there, back := make(chan uint64, 1), make(chan uint64, 1)
	go func() {
		for i := range there {
			back <- i
		}
	}()
	begin := time.Now()
	for i := 0; i < n; i++ {
		there <- 1
		<-back
	}
	close(there)
	return time.Since(begin)
}

func main() {
	repetitions := 5
	if len(os.Args) > 1 {
		repetitions, _ = strconv.Atoi(os.Args[1])
	}
	var told struct {
		Benchmarks []benchmark `json:"benchmarks"`
	}
	measure := func(workload, arguments string, n int, run func(int) time.Duration) {
		run(n / 10)
		ns := float64(run(n).Nanoseconds()) / float64(n)
		name := "BM_" + workload + "<Go chan>" + arguments
		told.Benchmarks = append(told.Benchmarks, benchmark{name, name, "iteration", ns, "ns", 1e9 / ns})
	}
	for r := 0; r < repetitions; r++ {
		measure("channel_pair", "", 1<<23, pair)
		for _, side := range []int{1, 2, 4, 8, 32} {
			side := side
			measure("channel", fmt.Sprintf("/%d", side), 1<<22, func(n int) time.Duration { return sides(side, n) })
		}
		measure("channel_ping_pong", "", 1<<20, pingPong)
	}
	text, _ := json.MarshalIndent(told, "", "  ")
	fmt.Println(string(text))
}
