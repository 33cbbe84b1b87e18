package fairqueue

import (
	"container/heap"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// class is a range of priorities. Higher classes come first, but the background gets a small share.
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

// lane is a class of requests that are slow or not.
type lane int

const lanes = 2 * lane(classes)

func laneOf(c class, slow bool) lane {
	if slow {
		return lane(classes + c)
	}
	return lane(c)
}

// slowShare is the share of the workers that slow requests can occupy: one in slowShare.
const slowShare = 4

// foregroundRun is how many foreground items are processed in a row while background items are
// ready.
const foregroundRun = 7

// item is a request in the queue.
type item struct {
	request  reconcile.Request
	priority int
	// readyAt is when the item's delay ends, zero if it has none.
	readyAt time.Time
	// readySince is when the item became ready, for metrics.
	readySince time.Time
	slow       bool
	// added is a sequence number: the order in which items became ready or were delayed.
	added uint64
	line  *line // nil if the item is delayed or its request is being processed
	index int   // in its heap
}

// before orders the items of a heap by the end of their delay, then by priority, then by age.
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

// namespace has the ready items of one namespace, in one line for each lane.
type namespace struct {
	name      string
	lines     [lanes]line
	inProcess int
}

// line has the ready items of one namespace and lane.
type line struct {
	namespace *namespace
	lane      lane
	items     ordered[*item]
	// turn is the sequence number of the line's last turn, or of its first item if that is later.
	turn  uint64
	index int // in the schedule's heap of lines
}

// before orders lines by the number of items that their namespace has in process, then by their
// last turn.
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
	lines      [lanes]ordered[*line] // only lines with items
	turn       uint64
	run        int // foreground items in a row while background items were ready
	inProcess  int
	slow       int // items in process that are slow
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
			n.lines[c].namespace, n.lines[c].lane = n, lane(c)
		}
		s.namespaces[n.name] = n
	}
	c := classOf(i.priority)
	l, sibling := laneOf(c, i.slow), laneOf(c, !i.slow)
	i.line = &n.lines[l]
	heap.Push(&i.line.items, i)
	if len(i.line.items) > 1 {
		return
	}
	if i.line.turn = n.lines[sibling].turn; len(n.lines[sibling].items) == 0 {
		s.turn++
		i.line.turn = s.turn
	}
	heap.Push(&s.lines[l], i.line)
}

// remove takes out an item.
func (s *schedule) remove(i *item) {
	l := i.line
	heap.Remove(&l.items, i.index)
	i.line = nil
	if len(l.items) == 0 {
		heap.Remove(&s.lines[l.lane], l.index)
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

// next removes and returns the item to process next. It returns nil if no item is ready, or if all
// ready items are of namespaces that already have their share of the workers.
func (s *schedule) next() *item {
	order := [classes]class{exclusive, foreground, background}
	if s.run >= foregroundRun {
		order = [classes]class{exclusive, background, foreground}
	}
	for _, c := range order {
		if l := s.first(c); l != nil {
			s.countRun(c)
			return s.take(l)
		}
	}
	return nil
}

// first returns the line of a class that is next, or nil if none can get a worker: of the namespace
// whose turn it is, the one with the item that comes first.
func (s *schedule) first(c class) (first *line) {
	lanes := s.lanesOf(c)
	for _, l := range lanes {
		if len(s.lines[l]) > 0 && (first == nil || s.lines[l][0].before(first)) {
			first = s.lines[l][0]
		}
	}
	if first == nil || (c != exclusive && !s.hasShareLeft(first.namespace)) {
		return nil
	}
	for _, l := range lanes {
		if other := &first.namespace.lines[l]; len(other.items) > 0 && other.items[0].before(first.items[0]) {
			first = other
		}
	}
	return first
}

// lanesOf returns the lanes of a class from which items can get a worker.
func (s *schedule) lanesOf(c class) []lane {
	if s.hasSlowShareLeft() {
		return []lane{laneOf(c, false), laneOf(c, true)}
	}
	return []lane{laneOf(c, false)}
}

// hasSlowShareLeft reports whether another slow item can get a worker.
func (s *schedule) hasSlowShareLeft() bool {
	return s.workers == 0 || s.slow < max(1, s.workers/slowShare)
}

// hasShareLeft reports whether a namespace can get another worker. It can have as many as are free,
// so that some stay free for namespaces that have none. A larger share would also take more of the
// API server's capacity from other namespaces.
func (s *schedule) hasShareLeft(n *namespace) bool {
	return s.workers == 0 || n.inProcess == 0 || n.inProcess < s.workers-s.inProcess
}

func (s *schedule) countRun(c class) {
	switch {
	case c == background || s.isEmpty(background):
		s.run = 0
	case c == foreground:
		s.run++
	}
}

// isEmpty reports whether a class has no ready items.
func (s *schedule) isEmpty(c class) bool {
	return len(s.lines[laneOf(c, false)])+len(s.lines[laneOf(c, true)]) == 0
}

// take removes and returns the first item of a line, and ends the turn of its namespace.
func (s *schedule) take(l *line) *item {
	first := l.items[0]
	s.turn++
	for _, slow := range []bool{false, true} { // it is the turn of the namespace, in this class
		l.namespace.lines[laneOf(classOf(first.priority), slow)].turn = s.turn
	}
	if first.slow {
		s.slow++
	}
	s.addInProcess(l.namespace, 1)
	s.remove(first)
	return first
}

// finished records that an item of a namespace is no longer in process.
func (s *schedule) finished(name string, slow bool) {
	n := s.namespaces[name]
	if slow {
		s.slow--
	}
	s.addInProcess(n, -1)
	s.drop(n)
}

// addInProcess changes the number of items of a namespace in process, and the order of its lines.
func (s *schedule) addInProcess(n *namespace, delta int) {
	n.inProcess += delta
	s.inProcess += delta
	for c := range n.lines {
		if l := &n.lines[c]; len(l.items) > 0 {
			heap.Fix(&s.lines[c], l.index)
		}
	}
}

// drop deletes a namespace that has no ready items and none in process.
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

// placed is an element of a heap that knows its index.
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
