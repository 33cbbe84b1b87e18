package main

import (
	"encoding/json"
	"math"
	"slices"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	var all []time.Duration
	for i := range 200 {
		all = append(all, time.Duration(200-i))
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 100, 0.99: 198, 1: 200} {
		if got := quantile(all, q); got != want {
			t.Errorf("of 1 to 200, %v is not exceeded by %v of all", got, q)
		}
	}
	if quantile(nil, 0.5) != 0 {
		t.Error("of nothing it is something")
	}
}

func TestRound(t *testing.T) {
	for in, want := range map[float64]float64{0: 0, 0.0333333: 0.0333, 1.2345: 1.23, 98.76: 98.8, 12345.6: 12346, -2.7182: -2.72} {
		if got := round(in); got != want {
			t.Errorf("%v is rounded to %v", in, got)
		}
	}
}

func TestFit(t *testing.T) {
	var figures []figure
	for _, n := range []int{100, 1000, 4000, 10000} {
		figures = append(figures, grown(n, "Secret", mebibytes("memory", int64(n)*8192+(40<<20)), seconds("ready", time.Duration(n)*time.Millisecond))...)
	}
	figures = append(figures, number("alone", 1))
	lines := fit(figures)
	if len(lines) != 2 {
		t.Fatalf("%d lines", len(lines))
	}
	if l := lines[0]; math.Abs(l.at0-40) > 0.1 || math.Abs(l.each*1024-8) > 0.1 {
		t.Errorf("it is %v", l)
	}
	if got, want := lines[1].String(), "ready: "; !slices.Equal([]byte(got[:len(want)]), []byte(want)) || math.Abs(lines[1].each-0.001) > 1e-5 {
		t.Errorf("it is %s", got)
	}
}

func TestMissed(t *testing.T) {
	if f := number("x", 2); f.missed() || !f.atMost(1).missed() || f.atMost(2).missed() {
		t.Error("a value is missed only above its bound")
	}
}

func TestMergeFigures_KeepsTheCasesThatWereNotMeasured(t *testing.T) {
	at := func(name string, value float64) figure { return figure{Case: name, Name: "x", Value: value} }
	got := mergeFigures([]benchCase{{name: "a"}, {name: "b"}, {name: "c"}}, []figure{at("c", 1), at("b", 1), at("renamed", 1)}, []figure{at("b", 2), at("a", 2)})
	if want := []figure{at("a", 2), at("b", 2), at("c", 1)}; !slices.Equal(got, want) {
		t.Errorf("it is %v", got)
	}
}

// What docs/performance.md says of the pods.
func TestOrdinaryPodsAreOfRealSize(t *testing.T) {
	text, err := json.Marshal(ordinary(123))
	if err != nil {
		t.Fatal(err)
	}
	if len(text) < 8<<10 || len(text) > 12<<10 {
		t.Errorf("%d bytes", len(text))
	}
	t.Logf("%d bytes", len(text))
}
