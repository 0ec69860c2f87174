// Go's select under the workloads of select_bench.cpp, over 1, 2 and 8 channels of 1,024 places. Of one channel the compiler makes a plain receive.
//
//	go run benchmarks/peers/select.go benchmarks/peers/measure.go [repetitions [filter]]
//
// A deadline is a timer that is made before the select and stopped after it, as one has to in Go; penstock's needs one only where it waits.
package main

import (
	"fmt"
	"time"
)

type channels []chan uint64

func channelsOf(count, capacity int) channels {
	all := make(channels, count)
	for i := range all {
		all[i] = make(chan uint64, capacity)
	}
	return all
}

func receive(c channels) uint64 {
	switch len(c) {
	case 1:
		select {
		case v := <-c[0]:
			return v
		}
	case 2:
		select {
		case v := <-c[0]:
			return v
		case v := <-c[1]:
			return v
		}
	}
	select {
	case v := <-c[0]:
		return v
	case v := <-c[1]:
		return v
	case v := <-c[2]:
		return v
	case v := <-c[3]:
		return v
	case v := <-c[4]:
		return v
	case v := <-c[5]:
		return v
	case v := <-c[6]:
		return v
	case v := <-c[7]:
		return v
	}
}

func receiveInTime(c channels) uint64 {
	late := time.NewTimer(10 * time.Second)
	defer late.Stop()
	select {
	case v := <-c[0]:
		return v
	case v := <-c[1]:
		return v
	case <-late.C:
		panic("nothing came")
	}
}

func receiveIfThere(c channels) uint64 {
	switch len(c) {
	case 1:
		select {
		case v := <-c[0]:
			return v
		default:
			return 0
		}
	case 2:
		select {
		case v := <-c[0]:
			return v
		case v := <-c[1]:
			return v
		default:
			return 0
		}
	}
	select {
	case v := <-c[0]:
		return v
	case v := <-c[1]:
		return v
	case v := <-c[2]:
		return v
	case v := <-c[3]:
		return v
	case v := <-c[4]:
		return v
	case v := <-c[5]:
		return v
	case v := <-c[6]:
		return v
	case v := <-c[7]:
		return v
	default:
		return 0
	}
}

var sum uint64 // what is received is needed

func ready(count, n int, pop func(channels) uint64) time.Duration {
	c := channelsOf(count, 1024)
	begin := time.Now()
	for i := 0; i < n; i++ {
		c[count-1] <- 1
		sum += pop(c)
	}
	return time.Since(begin)
}

func idle(count, n int) time.Duration {
	c := channelsOf(count, 1024)
	begin := time.Now()
	for i := 0; i < n; i++ {
		sum += receiveIfThere(c)
	}
	return time.Since(begin)
}

func arriving(count, n int, pop func(channels) uint64) time.Duration {
	c := channelsOf(count, 1024)
	go func() {
		for i := 0; i < n; i++ {
			c[i%count] <- 1
		}
	}()
	begin := time.Now()
	for i := 0; i < n; i++ {
		sum += pop(c)
	}
	return time.Since(begin)
}

func pingPong(count, n int, pop func(channels) uint64) time.Duration {
	there, back := make(chan uint64, 1), channelsOf(count, 1)
	go func() {
		i := 0
		for v := range there {
			back[i] <- v
			i = (i + 1) % count
		}
	}()
	begin := time.Now()
	for i := 0; i < n; i++ {
		there <- 1
		sum += pop(back)
	}
	close(there)
	return time.Since(begin)
}

func main() {
	var workloads []workload
	add := func(name string, count, n int, run func(int) time.Duration) {
		workloads = append(workloads, workload{fmt.Sprintf("BM_select_%s<Go select>/%d", name, count), n, run})
	}
	waiting := []struct {
		name string
		n    int
		run  func(count, n int, pop func(channels) uint64) time.Duration
	}{{"ready", 1 << 21, ready}, {"arriving", 1 << 21, arriving}, {"ping_pong", 1 << 19, pingPong}}
	for _, w := range waiting {
		w := w
		for _, count := range []int{1, 2, 8} {
			count := count
			add(w.name, count, w.n, func(n int) time.Duration { return w.run(count, n, receive) })
		}
		add(w.name+"_with_timeout", 2, w.n, func(n int) time.Duration { return w.run(2, n, receiveInTime) })
	}
	for _, count := range []int{1, 2, 8} {
		count := count
		add("idle", count, 1<<22, func(n int) time.Duration { return idle(count, n) })
	}
	measure(workloads)
}
