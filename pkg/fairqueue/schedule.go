package fairqueue

import (
	"container/heap"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// class groups priorities. Classes are strict, except that the background gets a small share.
type class int

const (
	exclusive class = iota
	foreground
	background
	classes
)

func classOf(priority int) class {
	switch {
	case priority >= Exclusive:
		return exclusive
	case priority >= 0:
		return foreground
	default:
		return background
	}
}

const (
	// foregroundRun is how many foreground items are processed in a row while background items
	// are ready.
	foregroundRun = 7
	// workersPerFree is how many workers a namespace can hold for each worker that is free. More would
	// also take the API server's time from the others, which calls in parallel share.
	workersPerFree = 1
)

// item is a request in the queue.
type item struct {
	request  reconcile.Request
	priority int
	// readyAt is when the item's delay ends, zero if it has none.
	readyAt time.Time
	// readySince is when the item became ready, for metrics.
	readySince time.Time
	// added numbers items in the order in which they became ready or were delayed.
	added uint64
	line  *line // the item waits in, nil if it is delayed or its request is being processed
	index int   // in the heap that has the item
}

// before reports whether an item comes before another of the same heap: by the end of the delay,
// else by priority, else by age.
func (i *item) before(other *item) bool {
	switch {
	case !i.readyAt.Equal(other.readyAt):
		return i.readyAt.Before(other.readyAt)
	case i.priority != other.priority:
		return i.priority > other.priority
	default:
		return i.added < other.added
	}
}

func (i *item) moved(to int) { i.index = to }

// namespace has the ready items of one namespace, a line for each class.
type namespace struct {
	name      string
	lines     [classes]line
	inProcess int
}

// line has the ready items of one namespace and class.
type line struct {
	namespace *namespace
	items     ordered[*item]
	// turn is when the line was served last or, if that is later, when it began.
	turn  uint64
	index int // in the schedule's heap of lines
}

// before reports whether a line is served before another: the one whose namespace has the fewest
// items in process, else the one that has waited longest.
func (l *line) before(other *line) bool {
	if l.namespace.inProcess != other.namespace.inProcess {
		return l.namespace.inProcess < other.namespace.inProcess
	}
	return l.turn < other.turn
}

func (l *line) moved(to int) { l.index = to }

// schedule has all ready items and decides which one is next. It is not safe for concurrent use.
type schedule struct {
	workers    int // 0 if unknown
	namespaces map[string]*namespace
	lines      [classes]ordered[*line] // those with items
	turn       uint64
	run        int // foreground items in a row while background items were ready
	inProcess  int
}

func newSchedule(workers int) *schedule {
	return &schedule{workers: workers, namespaces: map[string]*namespace{}}
}

// push adds an item.
func (s *schedule) push(i *item) {
	n := s.namespaces[i.request.Namespace]
	if n == nil {
		n = &namespace{name: i.request.Namespace}
		for c := range n.lines {
			n.lines[c].namespace = n
		}
		s.namespaces[n.name] = n
	}
	c := classOf(i.priority)
	i.line = &n.lines[c]
	heap.Push(&i.line.items, i)
	if len(i.line.items) == 1 {
		s.turn++
		i.line.turn = s.turn
		heap.Push(&s.lines[c], i.line)
	}
}

// remove takes out an item.
func (s *schedule) remove(i *item) {
	l := i.line
	heap.Remove(&l.items, i.index)
	i.line = nil
	if len(l.items) == 0 {
		heap.Remove(&s.lines[classOf(i.priority)], l.index)
	}
	s.drop(l.namespace)
}

// raise changes the priority of an item. Its namespace keeps its turn unless the class changes.
func (s *schedule) raise(i *item, priority int) {
	if classOf(priority) == classOf(i.priority) {
		i.priority = priority
		heap.Fix(&i.line.items, i.index)
		return
	}
	s.remove(i)
	i.priority = priority
	s.push(i)
}

// next takes out the item to process now. It returns nil if no item is ready, or if those that are
// belong to namespaces that hold their share of the workers.
func (s *schedule) next() *item {
	order := [classes]class{exclusive, foreground, background}
	if s.run >= foregroundRun {
		order = [classes]class{exclusive, background, foreground}
	}
	for _, c := range order {
		if len(s.lines[c]) == 0 {
			continue
		}
		l := s.lines[c][0]
		if c != exclusive && !s.canHaveAnother(l.namespace) {
			continue
		}
		s.countRun(c)
		return s.take(l)
	}
	return nil
}

// canHaveAnother reports whether one more worker leaves enough of them to others. What is free
// bounds what one namespace can hold, so that some workers stay free for a namespace that has
// none.
func (s *schedule) canHaveAnother(n *namespace) bool {
	return s.workers == 0 || n.inProcess == 0 || n.inProcess < workersPerFree*(s.workers-s.inProcess)
}

func (s *schedule) countRun(c class) {
	switch {
	case c == background || len(s.lines[background]) == 0:
		s.run = 0
	case c == foreground:
		s.run++
	}
}

// take hands out a line's first item and sends the line to the end of its turn.
func (s *schedule) take(l *line) *item {
	first := l.items[0]
	s.turn++
	l.turn = s.turn
	s.addInProcess(l.namespace, 1)
	s.remove(first)
	return first
}

// finished counts an item of a namespace as no longer in process.
func (s *schedule) finished(name string) {
	n := s.namespaces[name]
	s.addInProcess(n, -1)
	s.drop(n)
}

// addInProcess changes how many items of a namespace are in process, and the order of its lines
// with it.
func (s *schedule) addInProcess(n *namespace, delta int) {
	n.inProcess += delta
	s.inProcess += delta
	for c := range n.lines {
		if l := &n.lines[c]; len(l.items) > 0 {
			heap.Fix(&s.lines[c], l.index)
		}
	}
}

// drop forgets a namespace that has nothing ready and nothing in process.
func (s *schedule) drop(n *namespace) {
	if n.inProcess > 0 {
		return
	}
	for c := range n.lines {
		if len(n.lines[c].items) > 0 {
			return
		}
	}
	delete(s.namespaces, n.name)
}

// placed is an element of a heap that knows its place in it.
type placed[E any] interface {
	before(E) bool
	moved(to int)
}

var (
	_ placed[*item] = &item{}
	_ placed[*line] = &line{}
)

// ordered implements heap.Interface.
type ordered[E placed[E]] []E

func (o ordered[E]) Len() int           { return len(o) }
func (o ordered[E]) Less(i, j int) bool { return o[i].before(o[j]) }

func (o ordered[E]) Swap(i, j int) {
	o[i], o[j] = o[j], o[i]
	o[i].moved(i)
	o[j].moved(j)
}

// Push implements heap.Interface.
func (o *ordered[E]) Push(x any) {
	e, _ := x.(E)
	e.moved(len(*o))
	*o = append(*o, e)
}

// Pop implements heap.Interface.
func (o *ordered[E]) Pop() any {
	var none E
	last := len(*o) - 1
	e := (*o)[last]
	(*o)[last] = none // so that its memory can be freed
	*o = (*o)[:last]
	return e
}
