package sts

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// limits are the constraints of a text parameter. Lengths are in characters.
type limits struct {
	shortest, longest int
	pattern           string         // as STS prints it; empty for none
	form              *regexp.Regexp // the same, anchored
	required          bool
	secret            bool // the value must not be printed
}

func patterned(shortest, longest int, pattern string) limits {
	return limits{shortest: shortest, longest: longest, pattern: pattern, form: regexp.MustCompile(`^(?:` + pattern + `)$`)}
}

func (l limits) mandatory() limits {
	l.required = true
	return l
}

// From the AWS STS API Reference: AssumeRole, AssumeRoleWithWebIdentity, Tag.
var (
	roleARNLimits     = limits{shortest: 20, longest: 2048, required: true}
	sessionNameLimits = patterned(2, 64, `[\w+=,.@-]*`).mandatory()
	externalIDLimits  = patterned(2, 1224, `[\w+=,.@:\/-]*`)
	policyLimits      = limits{shortest: 1, longest: 2048}
	tokenLimits       = limits{shortest: 4, longest: 20000, required: true, secret: true}
	tagKeyLimits      = patterned(1, 128, `[\p{L}\p{Z}\p{N}_.:/=+\-@]+`).mandatory()
	tagValueLimits    = patterned(0, 256, `[\p{L}\p{Z}\p{N}_.:/=+\-@]*`)
)

const (
	minDuration   = 900   // seconds
	maxDuration   = 43200 // seconds
	maxTags       = 50
	maxPolicyARNs = 10
)

// validator collects every constraint that a call violates, because STS reports them in one
// message.
type validator struct {
	failures []string
}

func (v *validator) fail(value, name, constraint string) {
	v.failures = append(v.failures, fmt.Sprintf("Value %sat '%s' failed to satisfy constraint: %s", value, name, constraint))
}

// text checks a parameter of the form; name is its name in STS's messages.
func (v *validator) text(name string, form url.Values, parameter string, l limits) {
	if !form.Has(parameter) {
		if l.required {
			v.fail("null ", name, "Member must not be null")
		}
		return
	}
	v.value(name, form.Get(parameter), l)
}

func (v *validator) value(name, value string, l limits) {
	shown := "'" + value + "' "
	if l.secret {
		shown = ""
	}
	if l.form != nil && !l.form.MatchString(value) {
		v.fail(shown, name, "Member must satisfy regular expression pattern: "+l.pattern)
	}
	length := utf8.RuneCountInString(value)
	if length < l.shortest {
		v.fail(shown, name, fmt.Sprintf("Member must have length greater than or equal to %d", l.shortest))
	}
	if length > l.longest {
		v.fail(shown, name, fmt.Sprintf("Member must have length less than or equal to %d", l.longest))
	}
}

// role checks the parameters that all calls to assume a role have in common.
func (v *validator) role(form url.Values) {
	v.text("roleArn", form, "RoleArn", roleARNLimits)
	v.text("roleSessionName", form, "RoleSessionName", sessionNameLimits)
	v.duration(form)
	v.text("policy", form, "Policy", policyLimits)
	if len(members(form, "PolicyArns", "arn")) > maxPolicyARNs {
		v.fail("", "policyArns", fmt.Sprintf("Member must have length less than or equal to %d", maxPolicyARNs))
	}
}

func (v *validator) duration(form url.Values) {
	if !form.Has("DurationSeconds") {
		return
	}
	text := form.Get("DurationSeconds")
	shown := "'" + text + "' "
	seconds, err := strconv.ParseInt(text, 10, 32)
	switch {
	case err != nil:
		v.fail(shown, "durationSeconds", "Member must be an integer")
	case seconds < minDuration:
		v.fail(shown, "durationSeconds", fmt.Sprintf("Member must have value greater than or equal to %d", minDuration))
	case seconds > maxDuration:
		v.fail(shown, "durationSeconds", fmt.Sprintf("Member must have value less than or equal to %d", maxDuration))
	}
}

func (v *validator) tags(tags []tag) {
	if len(tags) > maxTags {
		v.fail("", "tags", fmt.Sprintf("Member must have length less than or equal to %d", maxTags))
	}
	for i, tag := range tags {
		v.value(fmt.Sprintf("tags.%d.member.key", i+1), tag.key, tagKeyLimits)
		v.value(fmt.Sprintf("tags.%d.member.value", i+1), tag.value, tagValueLimits)
	}
}

// done returns the requested role, or the ValidationError with all violations.
func (v *validator) done(form url.Values) (role, error) {
	if n := len(v.failures); n > 0 {
		noun := "error"
		if n > 1 {
			noun = "errors"
		}
		return role{}, badRequest(codeValidation,
			fmt.Sprintf("%d validation %s detected: %s", n, noun, strings.Join(v.failures, "; ")))
	}
	if duplicateKeys(tagsOf(form)) {
		return role{}, badRequest(codeValidation,
			"Duplicate tag keys found. Please note that Tag keys are case insensitive.")
	}
	return parseRole(form.Get("RoleArn"))
}

// tag is a session tag.
type tag struct{ key, value string }

// tagsOf returns the list Tags.member.N.Key and .Value, in order.
func tagsOf(form url.Values) []tag {
	var tags []tag
	for n := 1; ; n++ {
		member := "Tags.member." + strconv.Itoa(n)
		if !form.Has(member+".Key") && !form.Has(member+".Value") {
			return tags
		}
		tags = append(tags, tag{form.Get(member + ".Key"), form.Get(member + ".Value")})
	}
}

func duplicateKeys(tags []tag) bool {
	seen := map[string]bool{}
	for _, tag := range tags {
		folded := strings.ToLower(tag.key)
		if seen[folded] {
			return true
		}
		seen[folded] = true
	}
	return false
}

// members returns one field of the list <list>.member.N.<field>, the AWS Query protocol's encoding
// of a list of structures.
func members(form url.Values, list, field string) []string {
	var values []string
	for n := 1; ; n++ {
		name := fmt.Sprintf("%s.member.%d.%s", list, n, field)
		if !form.Has(name) {
			return values
		}
		values = append(values, form.Get(name))
	}
}
