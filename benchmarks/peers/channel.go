// Go's channel under the workloads of channel_bench.cpp.
//
//	go run benchmarks/peers/channel.go benchmarks/peers/measure.go [repetitions [filter]]
package main

import (
	"fmt"
	"sync"
	"time"
)

const places = 1024

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
	workloads := []workload{{"BM_channel_pair<Go chan>", 1 << 23, pair}}
	for _, side := range []int{1, 2, 4, 8, 32} {
		side := side
		name := fmt.Sprintf("BM_channel<Go chan>/%d", side)
		workloads = append(workloads, workload{name, 1 << 22, func(n int) time.Duration { return sides(side, n) }})
	}
	measure(append(workloads, workload{"BM_channel_ping_pong<Go chan>", 1 << 20, pingPong}))
}
