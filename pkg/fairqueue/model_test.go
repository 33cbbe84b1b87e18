package fairqueue_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"kube-aws-iam-controller/pkg/fairqueue"
)

// model is a simple model of a Queue: it has no order, only the state of each request.
type model struct {
	testQueue
	queued     map[string]entry
	processing sets.Set[string]
	// since has, for each namespace and class, the namespaces that had a turn while it had ready
	// items.
	since map[string][]string
	// run counts foreground items in a row while the background had ready ones.
	run int
}

type entry struct {
	priority int
	at       time.Time
}

func class(priority int) string {
	switch {
	case priority >= fairqueue.Exclusive:
		return "exclusive"
	case priority >= 0:
		return "foreground"
	default:
		return "background"
	}
}

func namespaceOf(key string) string { return strings.Split(key, "/")[0] }

func (m *model) add(priority int, after time.Duration, key string) {
	m.testQueue.add(priority, after, key)
	e := entry{priority, m.clock.Now().Add(after)}
	if was, ok := m.queued[key]; ok {
		e.priority = max(e.priority, was.priority)
		if was.at.Before(e.at) {
			e.at = was.at
		}
	}
	m.queued[key] = e
}

// available returns the requests that a worker can get now.
func (m *model) available() map[string]entry {
	now := m.clock.Now()
	ready := map[string]entry{}
	for key, e := range m.queued {
		if !e.at.After(now) && !m.processing.Has(key) {
			ready[key] = e
		}
	}
	return ready
}

func (m *model) inProcess(namespace string) (n int) {
	for key := range m.processing {
		if namespaceOf(key) == namespace {
			n++
		}
	}
	return n
}

// get gets an item and checks that the queue is allowed to return it.
func (m *model) get() error {
	available := m.available()
	got, priority, _ := m.GetWithPriority()
	key := got.String()
	e, ok := available[key]
	if !ok || e.priority != priority {
		return fmt.Errorf("got %s of priority %d, which is not available", key, priority)
	}
	if err := m.checkClass(available, class(priority)); err != nil {
		return err
	}
	for other, o := range available {
		switch {
		case class(o.priority) != class(priority):
		case namespaceOf(other) == got.Namespace && o.priority > priority:
			return fmt.Errorf("got %s of priority %d before %s of %d", key, priority, other, o.priority)
		case m.inProcess(namespaceOf(other)) < m.inProcess(got.Namespace):
			return fmt.Errorf("got %s, whose namespace has more in process than that of %s", key, other)
		}
	}
	if err := m.checkTurn(available, got.Namespace, class(priority)); err != nil {
		return err
	}
	delete(m.queued, key)
	m.processing.Insert(key)
	return nil
}

func (m *model) checkClass(available map[string]entry, got string) error {
	present := sets.New[string]()
	for _, e := range available {
		present.Insert(class(e.priority))
	}
	want := "foreground"
	switch {
	case present.Has("exclusive"):
		want = "exclusive"
	case !present.Has("foreground"), present.Has("background") && m.run == 7:
		want = "background"
	}
	if got != want {
		return fmt.Errorf("got an item of the %s after %d in a row, want the %s", got, m.run, want)
	}
	switch {
	case got == "background" || !present.Has("background"):
		m.run = 0
	case got == "foreground":
		m.run++
	}
	return nil
}

// checkTurn checks that no namespace is served twice while another one with ready items, and no
// more in process, waits for its turn.
func (m *model) checkTurn(available map[string]entry, namespace, ofClass string) error {
	for line := range lines(available) {
		other, otherClass, _ := strings.Cut(line, " ")
		if otherClass != ofClass {
			continue
		}
		if other == namespace {
			m.since[line] = nil
			continue
		}
		if m.inProcess(other) == m.inProcess(namespace) && slices.Contains(m.since[line], namespace) {
			return fmt.Errorf("%s was served again while %s waited", namespace, other)
		}
		m.since[line] = append(m.since[line], namespace)
	}
	return nil
}

// lines are the namespaces and classes that have available items.
func lines(available map[string]entry) sets.Set[string] {
	all := sets.New[string]()
	for key, e := range available {
		all.Insert(namespaceOf(key) + " " + class(e.priority))
	}
	return all
}

// step does one random operation.
func (m *model) step(random *rand.Rand) error {
	key := fmt.Sprintf("%c/%d", 'a'+random.IntN(4), random.IntN(6))
	switch random.IntN(8) {
	case 0, 1, 2:
		priorities := []int{background, background, waiting, waiting, waiting, urgent, fairqueue.Exclusive}
		delays := []time.Duration{0, 0, 0, time.Second, 2 * time.Second, 3 * time.Second}
		m.add(priorities[random.IntN(len(priorities))], delays[random.IntN(len(delays))], key)
	case 3:
		m.clock.Step(time.Second)
	case 4, 5:
		if len(m.available()) > 0 {
			if err := m.get(); err != nil {
				return err
			}
		}
	default:
		if busy := sets.List(m.processing); len(busy) > 0 {
			done := busy[random.IntN(len(busy))]
			m.Done(request(done))
			m.processing.Delete(done)
		}
	}
	return m.check()
}

// check compares the queue with the model after every step. A namespace without items loses its
// turn.
func (m *model) check() error {
	waiting := lines(m.available())
	maps.DeleteFunc(m.since, func(line string, _ []string) bool { return !waiting.Has(line) })
	var ready int
	for _, e := range m.queued {
		if !e.at.After(m.clock.Now()) {
			ready++
		}
	}
	if m.Len() != ready {
		return fmt.Errorf("%d items are ready, want %d", m.Len(), ready)
	}
	return nil
}

// drain checks that everything that was added comes out.
func (m *model) drain() error {
	m.clock.Step(time.Hour)
	for len(m.queued) > 0 {
		for _, key := range sets.List(m.processing) {
			m.Done(request(key))
			m.processing.Delete(key)
		}
		if err := m.get(); err != nil {
			return err
		}
	}
	if m.Len() != 0 {
		return fmt.Errorf("%d items are left", m.Len())
	}
	return nil
}

func runModel(t *testing.T, seed uint64, steps int) {
	t.Helper()
	isSlow := func(r reconcile.Request) bool {
		return strings.HasSuffix(r.Name, "1") || strings.HasSuffix(r.Name, "3")
	}
	m := &model{newTestQueueWith(t, fairqueue.Options{Slow: isSlow}), map[string]entry{}, sets.New[string](), map[string][]string{}, 0}
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // no secret
	for i := range steps {
		if err := m.step(random); err != nil {
			t.Fatalf("seed %d, step %d: %v", seed, i, err)
		}
	}
	if err := m.drain(); err != nil {
		t.Fatalf("seed %d, at the end: %v", seed, err)
	}
}

// TestQueue_Model compares random operations with a model: no item is lost or processed twice at
// the same time, priorities are respected, and namespaces take turns.
func TestQueue_Model(t *testing.T) {
	for seed := range uint64(50) {
		runModel(t, seed, 400)
	}
}

func FuzzQueue_Model(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { runModel(t, seed, 400) })
}
