// Package diagnosis says why a role arrives or does not: as a chain of checks, each with a message
// and, where it failed, the one command that comes next. It is pure: it does no I/O.
package diagnosis

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Status is the result of a Check.
type Status string

// The results of a Check.
const (
	Passed Status = "Passed"
	Failed Status = "Failed"
	// Unknown: it could not be found out, such as for lack of a right, or does not matter here.
	Unknown Status = "Unknown"
)

// Mark returns the status as one character.
func (s Status) Mark() string {
	switch s {
	case Passed:
		return "✓"
	case Failed:
		return "✗"
	default:
		return "–"
	}
}

// Check is one link of the chain.
type Check struct {
	Name    string `json:"name"`
	Status  Status `json:"status"`
	Message string `json:"message"`
	// Next is the command that comes next. Every Check that failed has one.
	Next string `json:"next,omitempty"`
}

func passed(name, format string, args ...any) Check {
	return Check{Name: name, Status: Passed, Message: fmt.Sprintf(format, args...)}
}

func unknown(name, format string, args ...any) Check {
	return Check{Name: name, Status: Unknown, Message: fmt.Sprintf(format, args...)}
}

func failed(name, next, format string, args ...any) Check {
	return Check{Name: name, Status: Failed, Message: fmt.Sprintf(format, args...), Next: next}
}

// Section is some checks about one thing.
type Section struct {
	Title  string  `json:"title"`
	Checks []Check `json:"checks"`
}

// Report is all that was checked.
type Report struct {
	Sections []Section `json:"sections"`
	// Next is the command that comes next, or empty if nothing failed.
	Next string `json:"next,omitempty"`
}

// Works reports whether no check failed.
func (r *Report) Works() bool { return r.Next == "" }

// report returns the Report of sections. Of the checks that failed, the command of the one that
// comes first in causes comes next: what is at its end follows from what is before.
func report(causes []string, sections ...Section) *Report {
	r := &Report{Sections: sections}
	for _, cause := range causes {
		for _, s := range sections {
			for i := range s.Checks {
				if c := &s.Checks[i]; c.Name == cause && c.Status == Failed {
					r.Next = c.Next
					return r
				}
			}
		}
	}
	return r
}

// Read is what was read from the API server, or why it could not be.
type Read[T any] struct {
	Value T
	Err   error
}

// forbidden reports whether the user may not read it.
func (r *Read[T]) forbidden() bool { return apierrors.IsForbidden(r.Err) }

// missing reports whether it does not exist.
func (r *Read[T]) missing() bool { return apierrors.IsNotFound(r.Err) }
